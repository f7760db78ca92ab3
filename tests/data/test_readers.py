"""A sentence for what is wrong in the owners' files, and what is optional."""

import contextlib
import json

import owners
import pytest
from owners import lines

from vivit_jax.data import annotations, readers
from vivit_jax.data.readers import (
  epic,
  kinetics,
  moments,
  own,
  sequence_examples,
  something,
  ucf,
)
from vivit_jax.errors import UserError


@contextlib.contextmanager
def mistake(*words):
  """Expects a UserError with each of these words."""
  with pytest.raises(UserError) as caught:
    yield
  for word in words:
    assert word in str(caught.value)


KINETICS = 'label,youtube_id,time_start,time_end,split'


def test_a_column_in_brackets_has_many_labels(tmp_path):
  path = tmp_path / 'a.csv'
  lines(
    path,
    'path,tags[],verb',
    '1.mp4,red; blue;red,cut',
    '2.mp4,,cut',
    '3.mp4,green,put',
  )
  splits = own.read(path).splits
  assert [example.labels for example in splits['train']] == [
    {'tags': ('red', 'blue'), 'verb': 'cut'},
    {'tags': (), 'verb': 'cut'},
    {'tags': ('green',), 'verb': 'put'},
  ]
  maps = annotations.label_maps(splits)
  assert maps == {'tags': ['blue', 'green', 'red'], 'verb': ['cut', 'put']}


def test_splits_of_ones_own_keep_their_names(tmp_path):
  lines(tmp_path / 'train.csv', 'path,label,split', '1.mp4,a,val', '2.mp4,b,x')
  lines(tmp_path / 'old_train.csv', 'not read')
  lines(tmp_path / 'val.csv', 'path,label', '3.mp4,a')
  splits = own.read(tmp_path).splits
  paths = {s: [e.path for e in examples] for s, examples in splits.items()}
  assert paths == {'val': ['1.mp4'], 'x': ['2.mp4'], 'validation': ['3.mp4']}


@pytest.mark.parametrize(
  'reader, rows, words',
  [
    (kinetics, ['youtube_id,time_start,time_end', 'a,0,9'], ["column 'label'"]),
    (
      kinetics,
      [KINETICS.replace('youtube_id', 'youtubeid'), 'x,a,0,9,train'],
      ["no column 'youtube_id'", "mean 'youtubeid'"],
    ),
    (kinetics, [KINETICS, 'x,a,zero,9,train'], ['line 2', 'time_start']),
    (kinetics, [KINETICS, ',a,0,9,train'], ['line 2', "'label'"]),
    (kinetics, [KINETICS, ',a,0,9,test'], ['no labels', 'test split']),
    (kinetics, [KINETICS, 'x,../a,0,9,train'], ['line 2', 'youtube_id with a']),
    (kinetics, [KINETICS] + ['x,a,0,9,train'] * 2, ['line 3', 'again']),
  ],
)
def test_mistakes_in_csv_files(tmp_path, reader, rows, words):
  lines(tmp_path / 'a.csv', *rows)
  with mistake('a.csv', *words):
    reader.read(tmp_path / 'a.csv')


def test_kinetics_test_split_without_labels_is_left_out(tmp_path):
  _, arguments, *_ = owners.kinetics400(tmp_path)
  found = kinetics.read(arguments['annotations'])
  assert list(found.splits) == ['train', 'validation']
  assert found.notes == (
    'the 1 videos of the test split have no labels, and are left out',
  )
  with pytest.raises(UserError, match='has no labels: it is of a test split'):
    kinetics.read(tmp_path / 'test.csv')
  lines(tmp_path / 'k400_val.csv', KINETICS, 'x,a,0,9,val')
  with pytest.raises(UserError, match='k400_val.csv and validate.csv'):
    kinetics.read(tmp_path)


def epic_row(**changes):
  cells = dict.fromkeys(owners.EPIC_HEADER.split(','), 'x') | {
    'narration_id': 'P01_01_0',
    'start_timestamp': '01:02:03.450',
    'stop_timestamp': '01:02:04.5',
    'start_frame': '223407',
    'stop_frame': '223470',
    'verb_class': '12',
    'noun_class': '299',
  }
  return ','.join((cells | changes).values())


def test_epic_numbers_are_names_without_the_files_of_classes(tmp_path):
  path = tmp_path / 'EPIC_100_train.csv'
  lines(path, owners.EPIC_HEADER, epic_row(narration_timestamp=''))
  found = epic.read(path)
  (example,) = found.splits['train']
  assert example.labels == {'verb': 'verb 12', 'noun': 'noun 299'}
  assert found.label_names['verb'][12] == 'verb 12'
  assert {h: len(n) for h, n in found.label_names.items()} == epic.CLASSES
  # An hour, two minutes and some seconds.
  assert (example.start, example.end) == (3723.45, 3724.5)
  assert example.frames == (223407, 223470)


def test_epic_files_go_by_their_names(tmp_path):
  lines(tmp_path / 'EPIC_100_unseen_participant_ids_validation.csv', 'id', '1')
  lines(tmp_path / 'EPIC_100_test_timestamps.csv', 'narration_id', 'x')
  with pytest.raises(UserError, match='or EPIC_100_validation.csv: give the'):
    epic.read(tmp_path)
  lines(tmp_path / 'EPIC_100_train.csv', owners.EPIC_HEADER, epic_row())
  assert list(epic.read(tmp_path).splits) == ['train']
  lines(tmp_path / 'EPIC_100_train.csv', 'narration_id', 'P01_01_0')
  with pytest.raises(UserError, match="has no column 'participant_id'"):
    epic.read(tmp_path)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'start_timestamp': '3.45'}, ["time '3.45'", '00:01:02.340']),
    ({'stop_timestamp': '01:02:03.000'}, ['stops before it starts']),
    ({'stop_frame': '7'}, ['stops before it starts']),
    ({'verb_class': '97'}, ['verb_class 97', '0 to 96']),
    ({'noun_class': '-1'}, ["'-1'", 'whole number']),
    ({'noun_class': ''}, ["column 'noun_class'"]),
    ({'video_id': '../x'}, ['outside']),
  ],
)
def test_mistakes_of_an_action(tmp_path, changes, words):
  path = tmp_path / 'EPIC_100_validation.csv'
  lines(path, owners.EPIC_HEADER, epic_row(**changes))
  with mistake('EPIC_100_validation.csv line 2', *words):
    epic.read(path)


def something_files(folder, **contents):
  for which, content in contents.items():
    (folder / f'{which}.json').write_text(json.dumps(content))


def test_something_test_labels_are_answers(tmp_path):
  item = {'id': 7, 'template': 'Moving [something] up'}
  something_files(
    tmp_path, train=[item], test=[{'id': '1'}, {'id': '2'}],
    labels={'Moving something up': '1', 'Moving [something] down': 0},
  )  # fmt: skip
  lines(tmp_path / 'test-answers.csv', '2;Moving something down')
  found = something.read(tmp_path)
  labels = {
    split: [(e.id, e.path, e.labels['label']) for e in examples]
    for split, examples in found.splits.items()
  }
  assert labels == {
    'train': [('7', '7.webm', 'Moving something up')],
    'test': [('2', '2.webm', 'Moving something down')],
  }
  assert found.label_names == {
    'label': ['Moving something down', 'Moving something up']
  }
  assert 'the 1 videos of the test split' in found.notes[0]


@pytest.mark.parametrize(
  'contents, words',
  [
    ({'train': {'id': '1'}}, ['train.json', 'list of videos']),
    ({'train': [{'template': 'x'}]}, ['item 1', "'id'"]),
    ({'train': [{'id': '1', 'label': 'x'}]}, ['item 1', "'template'"]),
    ({'test': [{'id': '1'}]}, ['no labels', 'test-answers.csv']),
    (
      {'train': [{'id': '1', 'template': 'x'}], 'labels': {'x': '0', 'y': '2'}},
      ['labels.json', 'from 0 to 1'],
    ),
    ({}, ['without train.json']),
  ],
)
def test_mistakes_of_something(tmp_path, contents, words):
  something_files(tmp_path, **contents)
  with mistake(*words):
    something.read(tmp_path)


def test_something_as_lines_of_json(tmp_path):
  items = [{'id': str(n), 'template': f'Take [it] {n}'} for n in (1, 2)]
  lines(tmp_path / 'validation.json', *(json.dumps(item) for item in items))
  found = something.read(tmp_path / 'validation.json')
  assert [e.labels['label'] for e in found.splits['validation']] == [
    'Take it 1',
    'Take it 2',
  ]


def test_moments_without_categories_and_mistakes(tmp_path):
  lines(tmp_path / 'validationSet.csv', 'a/1.mp4,a,3,0')
  found = moments.read(tmp_path / 'validationSet.csv')
  assert list(found.splits) == ['validation'] and found.label_names == {}
  assert found.splits['validation'][0].elsewhere == ('a/1.mp4',)
  with pytest.raises(UserError, match='trainingSet.csv or validationSet.csv'):
    moments.read(tmp_path / 'other.csv')
  lines(tmp_path / 'trainingSet.csv', 'alone')
  with pytest.raises(UserError, match='line 1 does not begin with a path and'):
    moments.read(tmp_path)
  lines(tmp_path / 'trainingSet.csv', 'b/1.mp4,b,3,0')
  lines(tmp_path / 'moments_categories.txt', 'a,0', 'a,1')
  with pytest.raises(UserError, match='moments_categories.txt line 2'):
    moments.read(tmp_path)


@pytest.mark.parametrize(
  'name, row, words',
  [
    ('trainlist01.txt', 'Swim/a.avi 1', ['line 1', "'Swim/a.avi'", 'class']),
    ('trainlist01.txt', 'Archery/a.avi 1', ["'Archery' as 1", 'as 2']),
    ('classInd.txt', '2 YoYo', ['line 1', 'number 1']),
  ],
)
def test_mistakes_of_ucf(tmp_path, name, row, words):
  _, arguments, *_ = owners.ucf(tmp_path)
  lists = arguments['annotations']
  lines(lists / name, row)
  with mistake(name, *words):
    ucf.read_ucf(lists)


def test_each_split_of_ucf_has_its_own_lists(tmp_path):
  _, arguments, *_ = owners.ucf(tmp_path)
  for number in (1, 2, 3):
    found = readers.read(
      'ucf101', arguments['annotations'], tmp_path, split_number=number
    )
    (example,) = found.splits['test']
    assert example.id == f'v_YoYo_g1{number}_c01.avi'


def test_a_dataset_without_a_reader_is_named(tmp_path):
  """It is not taken for somebody's own CSV."""
  (tmp_path / 'a.csv').write_text('path,label\na.mp4,x\n')
  with pytest.raises(UserError, match='charades'):
    readers.read('charades', tmp_path / 'a.csv', tmp_path)


def test_mistakes_of_hmdb(tmp_path):
  with pytest.raises(UserError, match='no files <class>_test_split1.txt'):
    ucf.read_hmdb(tmp_path)
  lines(tmp_path / 'wave_test_split1.txt', 'a.avi 3')
  with pytest.raises(UserError, match='line 1 is not a file and 0, 1 or 2'):
    ucf.read_hmdb(tmp_path)
  with pytest.raises(UserError, match='is no folder'):
    ucf.read_hmdb(tmp_path / 'wave_test_split1.txt')


def write_records(path, *contexts):
  """Writes contexts of {name: numbers or bytes}, without frames."""
  owners.write_records(path, [(context, []) for context in contexts])


INDEX, STRING = 'clip/label/index', 'clip/label/string'


def labels_of(found):
  return [e.labels['label'] for e in found.splits['train']]


def test_records_that_only_number_their_labels(tmp_path):
  write_records(tmp_path / 'train.tfrecord', {INDEX: [2]}, {INDEX: [0]})
  found = sequence_examples.read(tmp_path)
  assert labels_of(found) == ['2', '0']
  assert found.label_names == {'label': ['0', '1', '2']}
  names = {'label': ['a', 'b', 'c', 'd']}
  found = sequence_examples.read(tmp_path, label_names=names)
  assert labels_of(found) == ['c', 'a'] and found.label_names == names
  with pytest.raises(UserError, match='label 2, but there are 2 names'):
    sequence_examples.read(tmp_path, label_names={'label': ['a', 'b']})


def test_records_with_names_alone_and_with_several(tmp_path):
  write_records(tmp_path / 'train.tfrecord', {STRING: [b'b']}, {STRING: [b'a']})
  found = sequence_examples.read(tmp_path)
  assert labels_of(found) == ['b', 'a'] and found.label_names == {}
  write_records(tmp_path / 'train.tfrecord', {INDEX: [1, 0]}, {INDEX: [1]})
  assert labels_of(sequence_examples.read(tmp_path)) == [('1', '0'), ('1',)]


def test_files_of_records_are_split_by_name_or_by_a_list(tmp_path):
  for name in ('part-1', 'part-2', 'held-00000-of-00001'):
    write_records(tmp_path / name, {INDEX: [1]})
  with pytest.raises(UserError, match='has no file whose name has'):
    sequence_examples.read(tmp_path)
  path = tmp_path / 'splits.json'
  path.write_text('{"train": "part-*", "test": "held@1"}')
  found = sequence_examples.read(tmp_path, path)
  assert {s: [e.path for e in es] for s, es in found.splits.items()} == {
    'train': ['part-1', 'part-2'],
    'test': ['held-00000-of-00001'],
  }
  path.write_text('{"train": "held@2"}')
  with pytest.raises(UserError, match="'held@2' for the split 'train', of whi"):
    sequence_examples.read(tmp_path, path)


@pytest.mark.parametrize(
  'contexts, words',
  [
    ([{'other': [1]}], ['neither', INDEX, 'it has other']),
    ([{INDEX: [-1]}], ['no numbers and names']),
    ([{INDEX: [1], STRING: [b'a', b'b']}], ['no numbers and names']),
    (
      [{INDEX: [1], STRING: [b'a']}, {INDEX: [1], STRING: [b'b']}],
      ["both 'a' and 'b' as 1"],
    ),
  ],
)
def test_mistakes_of_records(tmp_path, contexts, words):
  write_records(tmp_path / 'train.tfrecord', *contexts)
  with mistake(*words):
    sequence_examples.read(tmp_path)


def test_classes_of_hmdb_are_in_the_order_of_the_alphabet(tmp_path):
  """That of the labels, which is not that of the names of the files."""
  for label in ('climb', 'climb_stairs', 'kick', 'kick_ball'):
    lines(tmp_path / f'{label}_test_split1.txt', 'a.avi 1')
  names = ucf.read_hmdb(tmp_path).label_names['label']
  assert names == ['climb', 'climb_stairs', 'kick', 'kick_ball']


def test_a_head_without_any_label_is_refused(tmp_path):
  lines(tmp_path / 'a.csv', 'path,tags[]', '1.mp4,', '2.mp4,')
  splits = own.read(tmp_path / 'a.csv').splits
  with pytest.raises(UserError, match='no video has a label of the head tags'):
    annotations.label_maps(splits)


def test_times_of_kinetics_have_to_make_sense(tmp_path):
  header = 'label,youtube_id,time_start,time_end,split'
  for row, words in (
    ('run,x,17,7,train', 'from second 17 to 7'),
    ('run,x,-3,7,train', 'from second -3 to 7'),
    ('run,a/b,0,7,train', 'youtube_id with a /'),
  ):
    lines(tmp_path / 'a.csv', header, row)
    with pytest.raises(UserError, match=words):
      kinetics.read(tmp_path / 'a.csv')


def test_numbers_of_moments_categories_are_each_there_once(tmp_path):
  lines(tmp_path / 'trainingSet.csv', 'a/1.mp4,a,3', 'b/2.mp4,b,3')
  lines(tmp_path / 'moments_categories.txt', 'a,0', 'b,5')
  with pytest.raises(UserError, match='number its 2 labels from 0, each once'):
    moments.read(tmp_path)

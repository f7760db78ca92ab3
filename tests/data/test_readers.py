"""Readers of annotations: what they accept, and refusals of invalid files."""

import json

import owners
import pytest
from owners import lines

from vivit_jax.data import annotations, raw_videos
from vivit_jax.data.annotations import Example
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

KINETICS = 'label,youtube_id,time_start,time_end,split'
INDEX, STRING = 'clip/label/index', 'clip/label/string'


def examples(*labels):
  return [
    Example(str(n), str(n), {'label': label}) for n, label in enumerate(labels)
  ]


def labels_of(annotated, split='train'):
  return [example.labels['label'] for example in annotated.splits[split]]


@pytest.mark.parametrize(
  'labels, expected',
  [
    (['10', '2', '1', '0', '11'], ['0', '1', '2', '10', '11']),
    (['7', '-1', '07'], ['-1', '07', '7']),
    (['10.0', '2.0', '+1'], ['+1', '2.0', '10.0']),
    (['10', '2', 'ten'], ['10', '2', 'ten']),
    (['1.5', '10'], ['1.5', '10']),
  ],
)
def test_integer_labels_are_in_the_order_of_numbers(labels, expected):
  splits = {'train': examples(*labels)}
  assert annotations.label_maps(splits) == {'label': expected}


def test_label_maps_are_the_training_splits():
  splits = {'train': examples('b', 'a', 'b'), 'test': examples('b')}
  assert annotations.label_maps(splits) == {'label': ['a', 'b']}
  alone = {'test': examples('d', 'c')}
  assert annotations.label_maps(alone) == {'label': ['c', 'd']}
  given = annotations.label_maps(alone, label_names={'label': ['d', 'x', 'c']})
  assert given == {'label': ['d', 'x', 'c']}


@pytest.mark.parametrize(
  'splits, label_names, named',
  [
    ({'train': examples('a'), 'test': examples('b')}, None, "test.*'b'"),
    ({'train': examples('a')}, {'label': ['b']}, "train.*'a'"),
    ({'train': examples('a')}, {'verb': ['a']}, 'verb.*label'),
    ({'train': examples(())}, None, 'label'),
  ],
)
def test_label_maps_refuse_unknown_labels(splits, label_names, named):
  with pytest.raises(UserError, match=named):
    annotations.label_maps(splits, label_names=label_names)


EPIC = dict.fromkeys(owners.EPIC_HEADER.split(','), 'x') | {
  'narration_id': 'P01_01_0',
  'start_timestamp': '01:02:03.450',
  'stop_timestamp': '01:02:04.5',
  'start_frame': '223407',
  'stop_frame': '223470',
  'verb_class': '12',
  'noun_class': '299',
}


def epic_file(**changes):
  row = ','.join((EPIC | changes).values())
  return {'EPIC_100_validation.csv': [owners.EPIC_HEADER, row]}


def write(folder, files):
  """Writes files of lines, or of JSON."""
  for name, content in files.items():
    if name.endswith('.json'):
      content = [json.dumps(content)]
    lines(folder / name, *content)


def own_read(path):
  return own.read(path, path / 'videos')


def own_file(*rows):
  return own_read, 'a.csv', {'a.csv': rows}


def kinetics_file(*rows):
  return kinetics.read, 'a.csv', {'a.csv': [KINETICS, *rows]}


def epic_cells(**changes):
  return epic.read, '', epic_file(**changes)


def something_files(**contents):
  files = {f'{name}.json': content for name, content in contents.items()}
  return something.read, '', files


def moments_files(train, *categories):
  files = {'trainingSet.csv': train, 'moments_categories.txt': categories}
  return moments.read, '', files


@pytest.mark.parametrize(
  'case, named',
  [
    (own_file('pth,label', '1.mp4,a'), "'path'.*'pth'"),
    (own_file('path,label'), 'a.csv'),
    (own_file('path', '1.mp4'), "'label'"),
    (own_file('path,label', '1.mp4,'), "line 2.*'label'"),
    (own_file('path,label', '1.mp4,a,b'), 'line 2'),
    (own_file('path,label', '1.mp4,a', '1.mp4,b'), "line 3.*'1.mp4'"),
    (own_file('path,label', '../1.mp4,a'), r"line 2.*'\.\./1.mp4'"),
    (own_file('path,label', '/etc/x,a'), "line 2.*'/etc/x'"),
    (own_file('path,label,split', '1.mp4,a,my split'), "line 2.*'my split'"),
    (own_file('path,label,label', '1.mp4,a,b'), 'label,label'),
    (own_file('path,scene', '1.mp4,a'), 'scene.*--labels'),
    (own_file('path,joint[]', '1.mp4,a'), "'joint"),
    (own_file('path,label,start,end', '1.mp4,a,2,2'), 'line 2'),
    (own_file('path,label,start', '1.mp4,a,soon'), "line 2.*'soon'"),
    ((own_read, 'absent.csv', {}), 'absent.csv'),
    ((own_read, '', {}), 'train.csv'),
    (
      (
        own_read,
        '',
        {'train.csv': ['path,verb', '1,a'], 'val.csv': ['path,noun', '2,b']},
      ),
      'val.csv line 2.*noun.*train.csv line 2.*verb',
    ),
    ((kinetics.read, '', {'a.csv': []}), 'train.csv'),
    (kinetics_file('x,a,zero,9,train'), "line 2.*'zero'"),
    (kinetics_file('x,a,17,7,train'), 'line 2.*17.*7'),
    (kinetics_file(',a,0,9,train'), "line 2.*'label'"),
    (kinetics_file(',a,0,9,test'), 'test split'),
    (epic_cells(start_timestamp='3.4.5'), "line 2.*'3.4.5'"),
    (epic_cells(stop_timestamp='01:02:03.000'), 'line 2'),
    (epic_cells(verb_class='97'), 'line 2.*verb_class 97'),
    (epic_cells(noun_class='-1'), "line 2.*'-1'"),
    ((epic.read, '', {'EPIC_100_test_timestamps.csv': ['id', 'x']}), 'folder'),
    (something_files(train={'id': '1'}), 'train.json'),
    (something_files(train=[{'id': '1', 'label': 'x'}]), "item 1.*'template'"),
    (something_files(test=[{'id': '1'}]), 'test-answers.csv'),
    (
      something_files(
        train=[{'id': '1', 'template': 'x'}], labels={'x': '0', 'y': '2'}
      ),
      'labels.json',
    ),
    (moments_files(['alone']), 'trainingSet.csv line 1'),
    (moments_files(['b/1.mp4,b,3,0'], 'a,0', 'a,1'), 'categories.txt'),
    (moments_files(['a/1.mp4,a,3'], 'a,0', 'b,5'), 'moments_categories.txt'),
    (
      (
        ucf.read_ucf,
        '',
        {'classInd.txt': ['1 YoYo'], 'trainlist01.txt': ['Swim/a.avi 1']},
      ),
      "trainlist01.txt line 1.*'Swim/a.avi'",
    ),
    (
      (ucf.read_hmdb, '', {'wave_test_split1.txt': ['a.avi 3']}),
      'wave_test_split1.txt line 1',
    ),
    ((ucf.read_hmdb, 'x', {'x': ['a.avi 3']}), 'folder'),
  ],
)
def test_invalid_files_are_refused(tmp_path, case, named):
  read, path, files = case
  write(tmp_path, files)
  with pytest.raises(UserError, match=named) as caught:
    read(tmp_path / path)
  assert str(tmp_path) in str(caught.value)


def test_kinetics_test_split_without_labels_is_left_out(tmp_path):
  _, arguments, *_ = owners.kinetics400(tmp_path)
  annotated = kinetics.read(arguments['annotations'])
  assert list(annotated.splits) == ['train', 'validation']
  (note,) = annotated.notes
  assert note.startswith('1 test video')
  lines(tmp_path / 'k400_val.csv', KINETICS, 'x,a,0,9,val')
  with pytest.raises(UserError, match='k400_val.csv and validate.csv'):
    kinetics.read(tmp_path)


KINETICS_VIDEO = 'x_000000_000009.mp4'


@pytest.mark.parametrize(
  'places',  # in the order in which they are taken
  [
    ['{}', 'replacement/replacement_for_corrupted_k400/{}', 'train/{}'],
    ['train/dance (folk)/{}'],
    ['videos_train/dance_-folk-/{}'],  # mmaction2
    ['train_256/dance_(folk)/{}'],  # Facebook's copy
  ],
)
@pytest.mark.parametrize('ending', ['.mp4', '.mkv'])
def test_kinetics_is_found_in_the_folders_of_its_copies(
  tmp_path, places, ending
):
  lines(tmp_path / 'a.csv', KINETICS, 'dance (folk),x,0,9,train')
  (example,) = kinetics.read(tmp_path / 'a.csv').splits['train']
  videos = tmp_path / 'videos'
  for place in reversed(places):
    path = (videos / place.format(KINETICS_VIDEO)).with_suffix(ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert raw_videos.locate(videos, example) == path


def test_epic_numbers_are_names_without_the_files_of_classes(tmp_path):
  write(tmp_path, epic_file(narration_timestamp=''))
  annotated = epic.read(tmp_path)
  (example,) = annotated.splits['validation']
  assert example.labels == {'verb': 'verb 12', 'noun': 'noun 299'}
  assert annotated.label_names['verb'][12] == 'verb 12'
  # An hour, two minutes and some seconds.
  assert (example.start, example.end) == (3723.45, 3724.5)
  assert example.frames == (223407, 223470)


def test_something_test_labels_are_answers(tmp_path):
  item = {'id': 7, 'template': 'Moving [something] up'}
  labels = {'Moving something up': '1', 'Moving [something] down': 0}
  _, _, files = something_files(
    train=[item], test=[{'id': '1'}, {'id': '2'}], labels=labels
  )
  write(tmp_path, files)
  lines(tmp_path / 'test-answers.csv', '2;Moving something down')
  annotated = something.read(tmp_path)
  labels = {
    split: [(e.id, e.path, e.labels['label']) for e in examples]
    for split, examples in annotated.splits.items()
  }
  assert labels == {
    'train': [('7', '7.webm', 'Moving something up')],
    'test': [('2', '2.webm', 'Moving something down')],
  }
  assert annotated.label_names == {
    'label': ['Moving something down', 'Moving something up']
  }
  (note,) = annotated.notes
  assert note.startswith('1 test video')


def test_classes_of_hmdb_are_in_the_order_of_the_alphabet(tmp_path):
  """Of the labels, not of the file names."""
  for label in ('climb', 'climb_stairs', 'kick', 'kick_ball'):
    lines(tmp_path / f'{label}_test_split1.txt', 'a.avi 1')
  names = ucf.read_hmdb(tmp_path).label_names['label']
  assert names == ['climb', 'climb_stairs', 'kick', 'kick_ball']


def write_records(path, *contexts):
  """Writes contexts of {name: numbers or bytes}, without frames."""
  owners.write_records(path, [(context, []) for context in contexts])


def test_records_with_label_numbers_only(tmp_path):
  write_records(tmp_path / 'train.tfrecord', {INDEX: [2]}, {INDEX: [0]})
  annotated = sequence_examples.read(tmp_path)
  assert labels_of(annotated) == ['2', '0']
  assert annotated.label_names == {'label': ['0', '1', '2']}
  names = {'label': ['a', 'b', 'c', 'd']}
  annotated = sequence_examples.read(tmp_path, label_names=names)
  assert labels_of(annotated) == ['c', 'a']
  assert annotated.label_names == names
  with pytest.raises(UserError, match='label 2'):
    sequence_examples.read(tmp_path, label_names={'label': ['a', 'b']})


def test_records_with_names_only_and_with_several_labels(tmp_path):
  write_records(tmp_path / 'train.tfrecord', {STRING: [b'b']}, {STRING: [b'a']})
  annotated = sequence_examples.read(tmp_path)
  assert labels_of(annotated) == ['b', 'a'] and annotated.label_names == {}
  write_records(tmp_path / 'train.tfrecord', {INDEX: [1, 0]}, {INDEX: [1]})
  assert labels_of(sequence_examples.read(tmp_path)) == [('1', '0'), ('1',)]


def test_files_of_records_are_split_by_name_or_by_a_list(tmp_path):
  for name in ('part-1', 'part-2', 'held-00000-of-00001'):
    write_records(tmp_path / name, {INDEX: [1]})
  with pytest.raises(UserError, match='--annotations'):
    sequence_examples.read(tmp_path)
  path = tmp_path / 'splits.json'
  path.write_text('{"train": "part-*", "test": "held@1"}')
  annotated = sequence_examples.read(tmp_path, path)
  assert {s: [e.path for e in es] for s, es in annotated.splits.items()} == {
    'train': ['part-1', 'part-2'],
    'test': ['held-00000-of-00001'],
  }
  path.write_text('{"train": "held@2"}')
  with pytest.raises(UserError, match="splits.json.*'held@2'.*'train'"):
    sequence_examples.read(tmp_path, path)


def test_the_last_word_in_a_path_is_its_split(tmp_path):
  (tmp_path / 'train').mkdir()
  for name in ('train/test-1', 'train/2', 'dev_3', 'VAL4'):
    write_records(tmp_path / name, {INDEX: [1]})
  splits = sequence_examples.read(tmp_path).splits
  assert {s: [e.path for e in es] for s, es in splits.items()} == {
    'train': ['train/2'],
    'validation': ['VAL4', 'dev_3'],
    'test': ['train/test-1'],
  }


@pytest.mark.parametrize(
  'contexts, named',
  [
    ([{'other': [1]}], 'byte 0.*other'),
    ([{INDEX: [-1]}], 'byte 0'),
    ([{INDEX: [1], STRING: [b'a', b'b']}], 'byte 0'),
    ([{INDEX: [1], STRING: [b'a']}, {INDEX: [1], STRING: [b'b']}], "'a'.*'b'"),
  ],
)
def test_invalid_records_are_refused(tmp_path, contexts, named):
  write_records(tmp_path / 'train.tfrecord', *contexts)
  with pytest.raises(UserError, match=named):
    sequence_examples.read(tmp_path)

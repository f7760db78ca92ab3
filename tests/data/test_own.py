"""A user's own annotations: CSV files, lists and class folders as others write.

Expected examples are written by hand: (split, path, label) of each.
"""

import numbered
import owners
import pytest
from conftest import opened, run, video
from owners import lines

from vivit_jax.data import (
  annotations,
  decode,
  moving_shapes,
  overview,
  raw_videos,
)
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.readers import own
from vivit_jax.errors import UserError


def read(path, **options):
  return own.read(path, path.parent / 'videos', **options)


def found(annotated):
  """Returns (split, path, label) of each example."""
  return [
    (split, example.path, example.labels['label'])
    for split, examples in annotated.splits.items()
    for example in examples
  ]


def touch(folder, *paths):
  for path in paths:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).touch()


def test_splits_and_two_heads(tmp_path):
  path = tmp_path / 'a.csv'
  lines(
    path,
    'path,verb,noun,split',
    'x/1.mp4,cut,bread,train',
    '',
    './2.mp4,"wash, dry",cup,test',
  )
  assert read(path).splits == {
    'train': [Example('x/1.mp4', 'x/1.mp4', {'verb': 'cut', 'noun': 'bread'})],
    'test': [Example('2.mp4', '2.mp4', {'verb': 'wash, dry', 'noun': 'cup'})],
  }


def test_a_column_in_brackets_has_many_labels(tmp_path):
  path = tmp_path / 'a.csv'
  lines(
    path,
    'path,tags[],verb',
    '1.mp4,red; blue;red,cut',
    '2.mp4,,cut',
    '3.mp4,green,put',
  )
  splits = read(path).splits
  assert [example.labels for example in splits['train']] == [
    {'tags': ('red', 'blue'), 'verb': 'cut'},
    {'tags': (), 'verb': 'cut'},
    {'tags': ('green',), 'verb': 'put'},
  ]
  maps = annotations.label_maps(splits)
  assert maps == {'tags': ['blue', 'green', 'red'], 'verb': ['cut', 'put']}


@pytest.mark.parametrize(
  'header, row, labels, heads, unused',
  [
    ('path,label,fps,num_frames', 'a.mp4,x,25,9', None, ['label'], 2),
    (',path,label', '0,a.mp4,x', None, ['label'], 1),  # pandas' index
    ('id,file_name,Class', '7,a.mp4,x', None, ['class'], 1),
    ('Video_Path,verb,scene', 'a.mp4,x,y', ['scene'], ['scene'], 1),
    ('path,stop', 'a.mp4,yes', ['stop'], ['stop'], 0),
    ('path,label,,', 'a.mp4,x,,', None, ['label'], 2),
    ('path,label_fine,tags[]', 'a.mp4,x,y', None, ['label_fine', 'tags'], 0),
  ],
)
def test_other_columns_are_no_heads(
  tmp_path, header, row, labels, heads, unused
):
  lines(tmp_path / 'a.csv', header, row)
  annotated = read(tmp_path / 'a.csv', labels=labels)
  ((example,),) = annotated.splits.values()
  assert (example.path, list(example.labels)) == ('a.mp4', heads)
  _, _, not_read = annotated.understood[0].partition('not read: ')
  assert len(list(filter(None, not_read.split(', ')))) == unused


@pytest.mark.parametrize(
  'columns, cells, start, end, frames',
  [
    ('start,end', '0.5,2', 0.5, 2.0, None),
    ('time_start,time_end', '00:01:02.5,1:03', 62.5, 63.0, None),
    ('start_time,end_time', ',4.25', None, 4.25, None),
    ('start_frame,end_frame', '3.0,17', None, None, (3, 17)),
    ('begin,stop_time', '"0,5",NaN', 0.5, None, None),
    ('start_timestamp,stop_timestamp', '0:00:01.5,2e+0', 1.5, 2.0, None),
    ('start_sec,end_sec,start_frame,stop_frame', '1,2,9,18', 1, 2, (9, 18)),
  ],
)
def test_segments(tmp_path, columns, cells, start, end, frames):
  lines(
    tmp_path / 'a.csv',
    f'path,label,{columns}',
    f'a.mp4,x,{cells}',
    f'a.mp4,y,{"," * columns.count(",")}',
  )
  part, whole = read(tmp_path / 'a.csv').splits['train']
  assert (part.start, part.end, part.frames) == (start, end, frames)
  assert whole == Example('a.mp4', 'a.mp4', {'label': 'y'})


@pytest.mark.parametrize('lowest', [0, 1])
def test_seconds_are_frames_at_the_rate_of_a_folder(tmp_path, lowest):
  """At 10 a second, frame n of 0 to 19 is at n / 10 s."""
  videos = tmp_path / 'videos'
  owners.frame_folder(videos / 'a', '{:05d}.jpg', lowest, 20)
  rows = ['a,x,1.0,1.5', 'a,x,,0.31', 'a,x,1.75,nan', 'a,x,,']
  lines(tmp_path / 'a.csv', 'path,label,start,end', *rows)
  annotated = read(tmp_path / 'a.csv', frames_rate=10)
  expected = [range(10, 15), range(4), range(18, 20), range(20)]
  for example, numbers in zip(annotated.splits['train'], expected, strict=True):
    images = raw_videos.frames(videos, example)
    assert [numbered.number(image) for image in images] == list(numbers)
    assert raw_videos.rate(videos, example) == 10
  with pytest.raises(UnreadableVideo, match='--frames_rate'):
    (example,) = read(tmp_path / 'a.csv').splits['train'][:1]
    list(raw_videos.frames(videos, example))


@pytest.mark.parametrize('ending', ['.mp4', '.mkv'])
@pytest.mark.parametrize(
  'ticks',
  [range(30), [*range(10), *range(11, 31)], [*range(20), *range(20, 60, 4)]],
)
def test_frame_numbers_count_frames(tmp_path, ending, ticks):
  """Also after a gap, and if the frame rate changes."""
  numbered.write(tmp_path / f'v{ending}', 30, ticks=ticks)
  for frames in ((0, 3), (8, 12), (12, None), (28, 29)):
    example = Example(f'v{ending}', '', {}, frames=frames)
    images = raw_videos.frames(tmp_path, example)
    seen = [numbered.number(image) for image in images]
    last = 29 if frames[1] is None else frames[1]
    assert sorted(set(seen)) == list(range(frames[0], last + 1))
  for frames in ((30, 31), (20, 40)):
    with pytest.raises(UnreadableVideo, match='30 frames'):
      example = Example(f'v{ending}', '', {}, frames=frames)
      list(raw_videos.frames(tmp_path, example))


def test_segments_hold_their_frames(tmp_path, videos):
  """23 frames at 10 a second: frame n is shown from n / 10 s."""
  path = tmp_path / 'a.csv'
  rows = ['0.mp4,a,0.5,1.0,,', '0.mp4,b,,,5,9', '0.mp4,c,2,,,']
  lines(path, 'path,label,start,end,start_frame,end_frame', *rows)
  run(tmp_path, [], annotations=path)
  split = opened(tmp_path)
  every = list(decode.decode_video(videos / '0.mp4'))
  for number, numbers in enumerate((range(5, 10), range(5, 10), (20, 21, 22))):
    jpegs = [decode.encode_jpeg(every[n]) for n in numbers]
    frames = split.read_frames(number, range(split.frame_counts[number]))
    assert len(frames) == len(jpegs)
    for frame, jpeg in zip(frames, jpegs):
      assert (frame == decode.decode_jpeg(jpeg, '')).all()


def test_splits_have_one_name(tmp_path):
  header = 'path,label,split'
  words = ('val', 'valid', 'dev', 'Validation', 'Train', 'TEST', 'extra')
  rows = [f'{n}.mp4,a,{word}' for n, word in enumerate(words)]
  lines(tmp_path / 'a.csv', header, *rows)
  splits = read(tmp_path / 'a.csv').splits
  counts = {split: len(examples) for split, examples in splits.items()}
  assert counts == {'validation': 4, 'train': 1, 'test': 1, 'extra': 1}
  folder = tmp_path / 'files'
  folder.mkdir()
  lines(folder / 'train.csv', header, '1.mp4,a,val', '2.mp4,b,x')
  lines(folder / 'k400_Val_list.csv', 'path,label', '3.mp4,a')
  assert sorted(found(read(folder))) == [
    ('validation', '1.mp4', 'a'),
    ('validation', '3.mp4', 'a'),
    ('x', '2.mp4', 'b'),
  ]


@pytest.mark.parametrize('separator', ',;\t')
@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'cp1252'])
def test_files_as_excel_saves_them(tmp_path, separator, encoding):
  rows = ['path,label,split', 'é.mp4,écharpe,train', 'b.mp4,été,val']
  text = '\r\n'.join(rows).replace(',', separator)
  (tmp_path / 'a.csv').write_bytes(text.encode(encoding))
  assert found(read(tmp_path / 'a.csv')) == [
    ('train', 'é.mp4', 'écharpe'),
    ('validation', 'b.mp4', 'été'),
  ]


@pytest.mark.parametrize('data', [b'PK\x03\x04\0\0', b'path,label\n\x81,a\n'])
def test_a_file_that_is_no_text_is_refused(tmp_path, data):
  (tmp_path / 'b.csv').write_bytes(data)
  with pytest.raises(UserError, match='b.csv'):
    read(tmp_path / 'b.csv')


def test_lists_of_paths_and_labels(tmp_path):
  videos = tmp_path / 'videos'
  touch(videos, 'frames 1/img_1.jpg', 'frames 2/img_1.jpg')
  folder = tmp_path / 'lists'
  folder.mkdir()
  absolute = videos / 'b.mp4'
  rows = ['a b/1.mp4 10', f'{absolute} 9', '2.AVI\tbrush hair']
  lines(folder / 'train.csv', *rows)
  lines(folder / 'val_list_rawframes.csv', 'frames 1 163 3', 'frames 2 9 4')
  lines(folder / 'test.csv', 'a b/3.mp4, 2')
  annotated = read(folder)
  assert found(annotated) == [
    ('train', 'a b/1.mp4', '10'),
    ('train', 'b.mp4', '9'),
    ('train', '2.AVI', 'brush hair'),
    ('validation', 'frames 1', '3'),
    ('validation', 'frames 2', '4'),
    ('test', 'a b/3.mp4', '2'),
  ]
  for wrong in ('4.mp4', '4.mp4 1 5', '4.mp4,run,train'):
    lines(folder / 'test.csv', '3.mp4 2', wrong)
    with pytest.raises(UserError, match='test.csv line 2'):
      read(folder)


@pytest.mark.parametrize('given', [False, True])
def test_class_folders(tmp_path, given):
  path = tmp_path if given else None
  touch(tmp_path, 'b/1.mp4', 'a/x/2.WEBM', 'test/3.mp4', 'a/4/f_1.jpg')
  touch(tmp_path, 'top.mp4', '.cache/b/1.mp4', 'b/._1.mp4')
  touch(tmp_path, 'b/.trash/2.mp4', 'b/@eaDir/1.mp4/a_1.png', 'b/5.gif')
  annotated = own.read(path, tmp_path)
  assert found(annotated) == [
    ('train', 'a/4', 'a'),
    ('train', 'a/x/2.WEBM', 'a'),
    ('train', 'b/1.mp4', 'b'),
    ('train', 'test/3.mp4', 'test'),  # a class: it holds the video itself
  ]
  top, ending = annotated.notes
  assert '1' in top and 'b/5.gif' in ending


def test_class_folders_in_splits(tmp_path):
  touch(tmp_path, 'Train/a/1.mp4', 'valid/b/2.mp4', 'test/train/3.mp4')
  assert found(own.read(None, tmp_path)) == [
    ('train', 'Train/a/1.mp4', 'a'),
    ('test', 'test/train/3.mp4', 'train'),
    ('validation', 'valid/b/2.mp4', 'b'),
  ]
  touch(tmp_path, 'c/4.mp4')
  with pytest.raises(UserError, match='c/4.mp4'):
    own.read(None, tmp_path)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match='empty.*--annotations'):
    own.read(None, tmp_path / 'empty')


@pytest.mark.parametrize(
  'paths, named',
  [
    (
      ['videos_train/a/1.mp4', 'videos_val/a/2.mp4'],
      'videos_train, videos_val',
    ),
    (['train/1.mp4', 'val/2.mp4'], 'train, val'),
    (['a/train/1.mp4', 'a/test/2.mp4', 'b/train/3.mp4'], 'a/t'),
    (['data/train/a/1.mp4', 'data/val/a/1.mp4'], 'data/train'),
  ],
)
def test_class_folders_a_level_off_are_refused(tmp_path, paths, named):
  touch(tmp_path, *paths)
  with pytest.raises(UserError, match=named):
    own.read(None, tmp_path)


def test_a_bound_of_an_unknown_name_is_refused(tmp_path):
  for other in ('duration', 'stop_s'):
    lines(tmp_path / 'a.csv', f'path,label,start,{other}', 'a.mp4,x,1,2')
    with pytest.raises(UserError, match=f"'start'.*'{other}'"):
      read(tmp_path / 'a.csv')


def test_an_open_quote_is_refused(tmp_path):
  lines(tmp_path / 'a.csv', 'path,label', 'a.mp4,x', 'b.mp4,"y', 'c.mp4,x')
  with pytest.raises(UserError, match='a.csv line 4'):
    read(tmp_path / 'a.csv')


def test_video_folder_of_hugging_face(tmp_path):
  """Paths are relative to the folder of metadata.csv."""
  for split in ('train', 'dev'):
    (tmp_path / split).mkdir()
    lines(tmp_path / split / 'metadata.csv', 'file_name,label', 'a/1.mp4,x')
  assert found(own.read(None, tmp_path)) == [
    ('validation', 'dev/a/1.mp4', 'x'),
    ('train', 'train/a/1.mp4', 'x'),
  ]
  one = tmp_path / 'one'
  one.mkdir()
  rows = ['train/1.mp4,x', 'val/2.mp4,y', '3.mp4,x']
  lines(one / 'metadata.csv', 'file_name,label', *rows)
  assert found(own.read(one, one)) == [
    ('train', 'train/1.mp4', 'x'),
    ('train', '3.mp4', 'x'),
    ('validation', 'val/2.mp4', 'y'),
  ]


def test_a_share_of_train_is_for_validation(tmp_path, videos, capsys):
  """Chosen by digests of paths; segments of one video stay together."""
  path = tmp_path / 'a.csv'
  rows = [f'{n}.mp4,{n % 2},{s},{s + 0.2}' for n in range(10) for s in (0, 0.4)]
  lines(path, 'path,label,start,end', *rows)
  options = {'annotations': path, 'validation_share': 0.3}
  run(tmp_path, [], **options)
  assert '--validation_share' not in capsys.readouterr().out
  ids = {
    split: opened(tmp_path, split).ids for split in ('train', 'validation')
  }
  videos_of = {s: {i.split()[0] for i in of} for s, of in ids.items()}
  assert not videos_of['train'] & videos_of['validation']
  assert sum(map(len, ids.values())) == 20
  assert len(videos_of['validation']) == 3
  gone = min(videos_of['train'])
  fewer = [row for row in rows if not row.startswith(gone)]
  lines(path, 'path,label,start,end', *fewer)
  run(tmp_path, [], **options, overwrite=True)
  assert opened(tmp_path, 'validation').ids == ids['validation']
  with pytest.raises(UserError, match='--validation_share'):
    run(tmp_path, [], annotations=path, validation_share=1e-9, overwrite=True)


def test_doubtful_splits_and_labels_are_noted(capsys):
  labels = ['Jump', 'jump', 'nan', 'run;sit']
  train = [Example(f'{n}', f'{n}', {'label': x}) for n, x in enumerate(labels)]
  splits = {'train': train, 'test': train[:2]}
  overview.show(Annotated(splits), annotations.label_maps(splits))
  shown = capsys.readouterr().out
  notes = [line for line in shown.splitlines() if line.startswith('note: ')]
  for words in (
    ('validation', '--validation_share'),
    ('train', 'test', ': 2'),
    ("'Jump'", "'jump'"),
    ("'nan'", '1 have'),
    ("'run;sit'", 'label[]'),
  ):
    assert sum(all(w in note for w in words) for note in notes) == 1, words
  assert len(notes) == 5
  good = {s: [Example(s, s, {'label': 'a'})] for s in ('train', 'validation')}
  overview.show(Annotated(good), annotations.label_maps(good))
  assert 'note' not in capsys.readouterr().out


def test_prepare_tells_what_it_understood(tmp_path, videos, capsys):
  rows = [f'{n}.mp4;{n};25' for n in range(10)]
  lines(tmp_path / 'a.csv', 'path;label;fps', *rows)
  run(tmp_path, [], annotations=tmp_path / 'a.csv')
  shown = capsys.readouterr().out
  for word in ('a.csv', 'UTF-8', 'semicolons', 'not read: fps', '10 train'):
    assert word in shown
  assert '10 classes, in order: 0, 1, 2, ..., 7, 8, 9' in shown


def test_another_ending_is_found(tmp_path, videos):
  (videos / '1.mp4').rename(videos / '1.MKV')
  moving_shapes.write_video(videos / '2.x.mp4', video(5))
  assert run(tmp_path, ['0.webm', '1.avi', '2.x']).broken == []
  with pytest.raises(UserError, match='Looked for x/1.mp4'):
    run(tmp_path, ['x/1.mp4'], overwrite=True)

"""Readers of annotations, and a sentence for every mistake in them."""

import pytest

from vivit_jax.data import annotations
from vivit_jax.data.annotations import Example
from vivit_jax.data.readers import kinetics, own
from vivit_jax.errors import UserError


def write(path, *lines):
  path.write_text(''.join(line + '\n' for line in lines))
  return path


def test_csv_with_splits_and_two_heads(tmp_path):
  path = write(
    tmp_path / 'a.csv',
    'path,verb,noun,split',
    'x/1.mp4,cut,bread,train',
    '',
    '2.mp4,"wash, dry",cup,test',
  )
  assert own.read(path).splits == {
    'train': [Example('x/1.mp4', 'x/1.mp4', {'verb': 'cut', 'noun': 'bread'})],
    'test': [Example('2.mp4', '2.mp4', {'verb': 'wash, dry', 'noun': 'cup'})],
  }


def test_folder_of_files_and_default_split(tmp_path):
  write(tmp_path / 'train.csv', 'path,label', '1.mp4,a')
  write(tmp_path / 'validation.csv', 'path,label', '1.mp4,b')
  splits = own.read(tmp_path).splits
  assert list(splits) == ['train', 'validation']
  assert splits['validation'][0].labels == {'label': 'b'}
  alone = own.read(tmp_path / 'train.csv', 'test').splits
  assert list(alone) == ['test']


def test_kinetics_file_names(tmp_path):
  path = write(
    tmp_path / 'k.csv',
    'label,youtube_id,time_start,time_end,split',
    'juggling,-Ab_,7,17,train',
  )
  (example,) = kinetics.read(path).splits['train']
  assert example.path == '-Ab__000007_000017.mp4'
  assert example.labels == {'label': 'juggling'}


@pytest.mark.parametrize(
  'lines, words',
  [
    (['pth,label', '1.mp4,a'], ["no column 'path'", "'pth'"]),
    (['path,label'], ['no rows']),
    (['path', '1.mp4'], ['no column of labels']),
    (['path,label', '1.mp4,'], ['line 2', "'label'"]),
    (['path,label', '1.mp4,a,b'], ['line 2', '3 cells']),
    (['path,label', '1.mp4,a', '1.mp4,b'], ['line 3', 'again']),
    (['path,label', '../1.mp4,a'], ['line 2', 'outside']),
    (['path,label', '/etc/x,a'], ['line 2', 'outside']),
    (['path,label,split', '1.mp4,a,my split'], ['line 2', "'my split'"]),
    (['path,label,label', '1.mp4,a,b'], ['name of its own']),
    (['path,a/b', '1.mp4,a'], ["'a/b'", 'letters']),
    (['path,joint', '1.mp4,a'], ["'joint'"]),
  ],
)
def test_mistakes_of_a_csv(tmp_path, lines, words):
  path = write(tmp_path / 'a.csv', *lines)
  with pytest.raises(UserError) as caught:
    own.read(path)
  for word in ['a.csv', *words]:
    assert word in str(caught.value)


def test_mistakes_of_files(tmp_path):
  with pytest.raises(UserError, match='no annotations at'):
    own.read(tmp_path / 'absent.csv')
  with pytest.raises(UserError, match='without train.csv'):
    own.read(tmp_path)
  (tmp_path / 'b.csv').write_bytes(b'path,label\n\xff\xfe,a\n')
  with pytest.raises(UserError, match='UTF-8'):
    own.read(tmp_path / 'b.csv')


def examples(*labels):
  return [
    Example(str(n), str(n), {'label': label}) for n, label in enumerate(labels)
  ]


def test_label_maps_are_the_training_splits():
  splits = {'train': examples('b', 'a', 'b'), 'test': examples('b')}
  assert annotations.label_maps(splits) == {'label': ['a', 'b']}
  alone = {'test': examples('d', 'c')}
  assert annotations.label_maps(alone) == {'label': ['c', 'd']}
  given = annotations.label_maps(alone, label_names={'label': ['d', 'x', 'c']})
  assert given == {'label': ['d', 'x', 'c']}


def test_an_unknown_label_is_named_with_the_nearest():
  splits = {
    'train': examples('juggling', 'eating'),
    'test': examples('jugling'),
  }
  with pytest.raises(UserError, match="'jugling'.*mean 'juggling'"):
    annotations.label_maps(splits)

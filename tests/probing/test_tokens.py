"""Stored tokens: written once, whole, and read by row."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.data import datasets, pipeline
from vivit_jax.errors import UserError
from vivit_jax.probing import tokens

BATCH = 4


@pytest.fixture
def make(tmp_path, monkeypatch):
  """Returns a function that describes 14 rows: shards of 8 and of 6."""

  def make(dtype='float32', **changes):
    split = tokens.Tokens(
      tmp_path / 'tokens', {'clip': [3, 4]}, 7, 2, (3, 4), dtype, BATCH
    )
    monkeypatch.setattr(tokens, '_SHARD_BYTES', 2 * BATCH * split.row_bytes)
    return dataclasses.replace(split, **changes)

  return make


class Encoder:
  """Encodes row r as the value r + 1; ends before a batch, if asked."""

  def __init__(self, until: int = 99, unreadable: int = -2):
    self.numbers, self.until, self.unreadable = [], until, unreadable

  def batches(self, first):
    for number in range(first, 4):
      rows = (number * BATCH + np.arange(BATCH)) % 14
      videos = np.where(rows == self.unreadable, -1, rows // 2)
      yield {'index': videos, 'rows': rows}

  def encode(self, batch, number):
    if number == self.until:
      raise KeyboardInterrupt
    self.numbers.append(number)
    rows = jnp.asarray(batch['rows'], jnp.float32) + 1
    return jnp.broadcast_to(rows[:, None, None], (BATCH, 3, 4))

  def write(self, split):
    split.write(self.batches, self.encode)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_an_interrupted_run_keeps_its_finished_shards(make, dtype):
  split = make(dtype)
  with pytest.raises(KeyboardInterrupt):
    Encoder(until=3).write(split)
  assert list(split.missing()) == [1]
  left = split.folder / '.00001.npy.1.part'
  left.touch()  # of a killed process
  second = Encoder()
  second.write(split)
  assert second.numbers == [2, 3] and not left.exists()
  assert not split.missing()
  rows = np.array([13, 0, 8, 7])
  read, shown = split.read(rows)
  assert read.dtype == jnp.dtype(dtype) and read.shape == (4, 3, 4)
  expected = np.broadcast_to(rows[:, None, None] + 1.0, (4, 3, 4))
  np.testing.assert_array_equal(read.astype(np.float32), expected)
  np.testing.assert_array_equal(shown, rows // 2)


def labels(videos):
  return {'label': np.asarray(videos) * 10}


def test_batches_show_the_clips_that_their_seeds_choose(make):
  split = make()
  Encoder().write(split)
  source = types.SimpleNamespace(labels_of_each=labels)
  seeds = np.array([[0, 3], [5, 4]])  # of two clips of each of two videos
  batch = split.training_batch(source, 2, (np.array([6, 1]), seeds))
  found = batch['tokens'][:, 0, 0] - 1
  np.testing.assert_array_equal(found, [12, 3, 13, 2])
  np.testing.assert_array_equal(batch['labels']['label'], [60, 10, 60, 10])
  assert (batch['unreadable'] == -1).all()


def test_unreadable_videos_are_told(make):
  split = make(clips=1, videos=14)
  Encoder(unreadable=9).write(split)
  source = types.SimpleNamespace(labels_of_each=labels)

  class Fourteen(types.SimpleNamespace):
    def __len__(self):
      return 14

  evaluated = list(split.evaluation_batches(Fourteen(labels_of_each=labels), 8))
  seen = np.concatenate([b['index'][b['mask']] for b in evaluated])
  np.testing.assert_array_equal(seen, np.arange(14))
  # Rows show videos 0, 0, 1, 1, ...: row 9 shows none, row 2 another.
  bad = np.concatenate([b['unreadable'][b['mask']] for b in evaluated])
  np.testing.assert_array_equal(np.flatnonzero(bad), [9])
  batch = split.training_batch(source, 1, (np.array([2]), np.array([[0]])))
  assert batch['unreadable'].tolist() == [2] and batch['index'].tolist() == [1]


def test_other_tokens_are_never_used(make):
  split = make()
  Encoder().write(split)
  split.check_key()
  other = make(key={'clip': [3, 5]})
  with pytest.raises(UserError, match=r'clip is \[3, 4\] there') as error:
    other.check_key()
  assert str(split.folder) in str(error.value)
  key = split.folder / 'key.json'
  key.write_text('[[1, 2]]')
  with pytest.raises(UserError, match=str(key)):
    split.check_key()
  key.unlink()
  with pytest.raises(UserError, match='no key.json') as error:
    split.check_key()
  assert str(split.folder) in str(error.value)


@pytest.mark.parametrize(
  'damage',
  [
    lambda whole: b'',
    lambda whole: whole[:-1],
    lambda whole: whole + b'0',
    lambda whole: b'PK\x03\x04' + whole[4:],
    lambda whole: whole.replace(b'{', b'(', 1),
    lambda whole: whole.replace(b'(6,)', b'(5,)', 1),
    lambda whole: whole.replace(b"'shape'", b"'shape", 1),
    lambda whole: whole[:-40] + b'\7' + whole[-39:],  # a token of the last row
    lambda whole: whole[:-60] + b'\1' + whole[-59:],  # its video
  ],
)
def test_a_damaged_shard_is_written_again(make, damage):
  split = make()
  Encoder().write(split)
  path = split.path(1)
  whole = path.read_bytes()
  path.write_bytes(damage(whole))
  assert path.read_bytes() != whole
  with pytest.raises(UserError, match=path.name):
    split.read(np.array([13]))
  assert not path.exists()
  second = Encoder()
  second.write(split)
  assert second.numbers == [2, 3] and path.read_bytes() == whole
  assert not split.missing()


def test_rows_are_of_their_key_and_place(make):
  split = make()
  Encoder().write(split)
  path = split.path(0)
  whole, length = path.read_bytes(), split.record.itemsize
  first, second = whole[-2 * length : -length], whole[-length:]
  path.write_bytes(whole[: -2 * length] + second + first)
  with pytest.raises(UserError, match=path.name):
    split.read(np.array([7]))
  path.write_bytes(whole)
  other = make(key={'clip': [3, 5]})
  with pytest.raises(UserError, match=path.name):
    other.read(np.array([7]))


def test_a_shard_that_is_cut_off_while_it_is_read(make):
  split = make()
  Encoder().write(split)
  split.read(np.array([0]))
  path = split.path(1)
  path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(UserError, match=path.name):
    split.read(np.array([13]))


def test_there_must_be_room(make, monkeypatch, capsys):
  split = make()
  tokens.check_room([split], 1.0)
  assert (
    '7 videos x 2 clips x 3 tokens x 4 x 4 bytes' in capsys.readouterr().out
  )
  with pytest.raises(UserError, match='probe.max_gigabytes') as error:
    tokens.check_room([split, split], 1.9 * 14 * 48 / 1e9)
  assert 'room' not in str(error.value)
  free = types.SimpleNamespace(free=14 * 48 - 1)
  monkeypatch.setattr(tokens.shutil, 'disk_usage', lambda path: free)
  with pytest.raises(UserError, match='probe.average'):
    tokens.check_room([split], 1.0)
  Encoder().write(split)
  tokens.check_room([split], 1.0)  # nothing is missing


def test_each_clip_of_each_video_in_order(prepared):
  config = configs.default()
  config.data.frames, config.data.crop = 2, (16, 16)
  config.data.short_side, config.data.workers = 24, 0
  config = configs.resolve(config)
  source = datasets.open_split('moving_shapes', prepared, 'train')

  def batches(first):
    return list(
      pipeline.each_video(
        source,
        config.data,
        config.augment,
        seed=3,
        batch_size=20,
        clips_of_each=2,
        first_batch=first,
      )
    )

  whole = batches(0)
  shown = np.concatenate([batch['index'] for batch in whole])
  expected = np.repeat(np.arange(48), 2)
  np.testing.assert_array_equal(shown, [*expected, 0, 0, 1, 1])
  clips = np.concatenate([batch['video'] for batch in whole])
  assert all((clips[i] != clips[i + 1]).any() for i in range(0, 96, 2))
  for one, other in zip(batches(3), whole[3:], strict=True):
    np.testing.assert_array_equal(one['video'], other['video'])

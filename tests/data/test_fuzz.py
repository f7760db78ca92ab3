"""Damage of every kind is told with a reason; nothing crashes or hangs.

A crash or hang of a worker would end `prepare`, or this test, without its
list of skipped videos.
"""

import csv
import shutil
import struct

import av
import numpy as np
import pytest
from conftest import video

from vivit_jax.data import datasets, moving_shapes, prepare
from vivit_jax.errors import UserError

_CONTAINERS = {'mp4': 'mp4', 'webm': 'matroska', 'avi': 'avi'}


def write(path, frames, seed=0):
  """Writes a video in the container that the suffix names."""
  suffix = path.suffix[1:]
  if suffix == 'mp4':
    return moving_shapes.write_video(path, video(seed, frames))
  with av.open(str(path), 'w', format=_CONTAINERS[suffix]) as container:
    stream = container.add_stream('mpeg4', rate=10)
    stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
    for image in video(seed, frames):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


def truncated(whole: bytes, draw) -> bytes:
  return whole[: draw.integers(1, len(whole))]


def flipped(whole: bytes, draw) -> bytes:
  data = np.frombuffer(whole, np.uint8).copy()
  places = draw.integers(0, len(data), draw.integers(1, 200))
  data[places] ^= draw.integers(1, 256, len(places)).astype(np.uint8)
  return data.tobytes()


def scrambled(whole: bytes, draw) -> bytes:
  """A run of noise, as of a lost block of the disk."""
  data = np.frombuffer(whole, np.uint8).copy()
  start = draw.integers(0, len(data) - 1)
  run = data[start : start + 512]
  run[:] = draw.integers(0, 256, len(run))
  return data.tobytes()


def absurd(whole: bytes, draw) -> bytes:
  """Sizes of thousands of millions where the container states its own."""
  data = bytearray(whole)
  for mark in (b'avc1', b'tkhd', b'stsz', b'stco', b'mdhd', b'avih', b'strf'):
    at = whole.find(mark)
    if at >= 0 and draw.uniform() < 0.7:
      place = at + 4 + int(draw.integers(0, 32))
      struct.pack_into('>I', data, place, int(draw.integers(1 << 30, 1 << 32)))
  return bytes(data)


def prepared(tmp_path, videos, names, **options):
  """Prepares videos, labelled a and b in turn; returns the summary."""
  rows = [f'{name},{"ab"[n % 2]}' for n, name in enumerate(names)]
  (tmp_path / 'a.csv').write_text('\n'.join(['path,label', *rows]) + '\n')
  return prepare.prepare(
    'videos/fuzz',
    videos=videos,
    annotations=tmp_path / 'a.csv',
    data_dir=tmp_path / 'data',
    **options,
  )


DAMAGES = (truncated, flipped, scrambled, absurd)


@pytest.mark.slow
def test_two_hundred_damaged_videos(tmp_path):
  videos = tmp_path / 'videos'
  videos.mkdir()
  draw = np.random.default_rng(0)
  whole = {}
  for suffix in _CONTAINERS:
    write(videos / f'whole.{suffix}', 20)
    whole[suffix] = (videos / f'whole.{suffix}').read_bytes()
  names = []
  for number in range(200):
    suffix = list(_CONTAINERS)[number % 3]
    damage = DAMAGES[number % len(DAMAGES)]
    name = f'{damage.__name__}{number}.{suffix}'
    (videos / name).write_bytes(damage(whole[suffix], draw))
    names.append(name)
  # Wrong containers are no damage; no frames, and no video at all, are.
  shutil.copy(videos / 'whole.avi', videos / 'wrong.mp4')
  (videos / 'none.mp4').write_bytes(whole['mp4'][:32])
  (videos / 'noise.webm').write_bytes(draw.bytes(5000))
  names += ['none.mp4', 'noise.webm', 'wrong.mp4', 'whole.mp4', 'whole.avi']
  summary = prepared(tmp_path, videos, names, max_broken=1.0, workers=2)
  split = datasets.open_split('videos/fuzz', tmp_path / 'data', 'train')
  broken = dict(summary.broken)
  assert sorted([*split.ids, *broken]) == sorted(names)
  assert {'whole.mp4', 'whole.avi', 'wrong.mp4'} <= set(split.ids)
  assert {'none.mp4', 'noise.webm'} <= set(broken)
  # Cut files are never taken for whole ones; flipped bits may pass unseen.
  cut = [name for name in names if name.startswith('truncated')]
  assert sum(name in broken for name in cut) >= 0.9 * len(cut)
  assert all(reason.strip() for reason in broken.values())
  with open(summary.folder / 'skipped.csv', newline='') as file:
    assert len(list(csv.DictReader(file))) == len(broken)
  for place, count in enumerate(split.frame_counts):
    assert len(split.read_frames(place, range(count))) == count


@pytest.mark.slow
@pytest.mark.parametrize('storage', ['jpeg', 'video'])
def test_damaged_records(tmp_path, videos, storage):
  names = [f'{number}.mp4' for number in range(10)]
  folder = prepared(tmp_path, videos, names, storage=storage, workers=1).folder
  shard = sorted(folder.glob('*.array_record-*'))[0]
  whole, draw = shard.read_bytes(), np.random.default_rng(1)
  split = datasets.open_split('videos/fuzz', tmp_path / 'data', 'train')
  expected = split.read_frames(0, range(23))
  told = 0
  for number in range(60):
    damage = (truncated, flipped, scrambled)[number % 3]
    shard.write_bytes(damage(whole, draw))
    try:
      split = datasets.open_split('videos/fuzz', tmp_path / 'data', 'train')
      found = split.read_frames(0, range(23))
    except UserError as error:
      assert '\n' not in str(error)
      told += 1
    else:  # the damage is in what is not read
      for frame, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame, other)
  assert told >= 20

"""Damaged files are read or refused with a reason; nothing crashes or hangs."""

import struct

import numbered
import numpy as np
import pytest
from conftest import names, opened, run

from vivit_jax.data import decode, storage
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.errors import UserError


def truncated(whole: bytes, rng) -> bytes:
  return whole[: rng.integers(1, len(whole))]


def flipped(whole: bytes, rng) -> bytes:
  data = np.frombuffer(whole, np.uint8).copy()
  places = rng.integers(0, len(data), rng.integers(1, 200))
  data[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
  return data.tobytes()


def scrambled(whole: bytes, rng) -> bytes:
  """A run of noise, like a lost block of the disk."""
  data = np.frombuffer(whole, np.uint8).copy()
  start = rng.integers(0, len(data) - 1)
  run = data[start : start + 512]
  run[:] = rng.integers(0, 256, len(run))
  return data.tobytes()


def absurd(whole: bytes, rng) -> bytes:
  """Sizes of billions in the container's headers."""
  data = bytearray(whole)
  for mark in (b'avc1', b'tkhd', b'stsz', b'stco', b'mdhd', b'avih', b'strf'):
    at = whole.find(mark)
    if at >= 0 and rng.uniform() < 0.7:
      place = at + 4 + int(rng.integers(0, 32))
      struct.pack_into('>I', data, place, int(rng.integers(1 << 30, 1 << 32)))
  return bytes(data)


DAMAGES = (truncated, flipped, scrambled, absurd)


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.webm', 'x.avi'])
def test_videos_and_segments(tmp_path, name):
  path = tmp_path / name
  numbered.write(path, 30, key_frames=7)
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  reasons, truncations, refused = set(), 0, 0
  for number in range(80):
    damage = DAMAGES[number % 4]
    path.write_bytes(damage(whole, rng))
    for segment in ((), (0.5, 1.5)):
      try:
        frames = list(decode.decode_video(path, None, *segment))
        assert 1 <= len(frames) <= 1000
      except UnreadableVideo as error:
        reasons.add(error.reason)
        refused += damage is truncated and not segment
    truncations += damage is truncated
  assert len(reasons) > 5
  # A truncated video is not taken for a shorter one.
  assert refused >= 0.8 * truncations


def test_metadata_of_unknown_encoding_is_no_damage(tmp_path):
  """Titles and authors in old files are in any encoding."""
  path = tmp_path / 'x.mkv'
  numbered.write(path)
  content = path.read_bytes()
  assert content.count(b'Lavf') >= 1
  path.write_bytes(content.replace(b'Lavf', b'\xc5\xff\xfe\x80'))
  seen = [numbered.number(image) for image in decode.decode_video(path)]
  assert seen == list(range(12))
  assert len(list(decode.decode_video(path, None, 0.2, 0.5))) == 3


@pytest.mark.parametrize('name', storage.STORAGES)
def test_records(tmp_path, videos, name):
  folder = run(tmp_path, names(), storage=name).folder
  shard = sorted(folder.glob('*.array_record-*'))[0]
  whole, rng = shard.read_bytes(), np.random.default_rng(1)
  split = opened(tmp_path)
  expected = split.read_frames(0, range(23))
  refused = 0
  for number in range(45):
    shard.write_bytes((truncated, flipped, scrambled)[number % 3](whole, rng))
    try:
      split = opened(tmp_path)
      frames = split.read_frames(0, range(23))
    except UserError as error:
      assert '\n' not in str(error)
      refused += 1
    else:  # the damage is in bytes that are not read
      np.testing.assert_array_equal(frames, expected)
  assert refused >= 15

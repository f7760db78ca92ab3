"""Damaged files: each is read or refused with a reason, and none crashes."""

import numbered
import numpy as np
import owners
import pytest

from vivit_jax.data import decode, sources
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.data.readers import sequence_examples
from vivit_jax.errors import UserError


def damaged(whole: bytes, rng: np.random.Generator, kind: int) -> bytes:
  """Returns a file cut off, with flipped bits, or with other bytes in front."""
  content = bytearray(whole)
  if kind == 0:
    return bytes(content[: rng.integers(len(content))])
  for _ in range(rng.integers(1, 20)):
    if kind == 1:
      content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    else:
      content[rng.integers(min(len(content), 1000))] = rng.integers(256)
  return bytes(content)


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.webm', 'x.avi'])
def test_damaged_videos_and_parts_of_them(tmp_path, name):
  path = tmp_path / name
  numbered.write(path, 30, key_frames=7)
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  reasons = set()
  for number in range(60):
    path.write_bytes(damaged(whole, rng, number % 3))
    for part in ((), (0.5, 1.5)):
      try:
        frames = list(decode.decode_video(path, None, *part))
        assert 1 <= len(frames) <= 1000
        assert decode.seconds(path) >= 0
      except UnreadableVideo as error:
        reasons.add(error.reason)
  assert len(reasons) > 5


def test_words_in_no_known_code_are_no_damage(tmp_path):
  """Titles and authors of old files are in any encoding."""
  path = tmp_path / 'x.mkv'
  numbered.write(path)
  content = path.read_bytes()
  assert content.count(b'Lavf') >= 1
  path.write_bytes(content.replace(b'Lavf', b'\xc5\xff\xfe\x80'))
  seen = [numbered.number(image) for image in decode.decode_video(path)]
  assert seen == list(range(12))
  assert len(list(decode.decode_video(path, None, 0.2, 0.5))) == 3


def test_damaged_records(tmp_path):
  owners.sequence_examples(tmp_path)
  path = tmp_path / 'k-train.rgb.tfrecord-00000-of-00002'
  whole, rng = path.read_bytes(), np.random.default_rng(0)
  outcomes = dict.fromkeys(('read', 'skipped', 'refused'), 0)
  for number in range(60):
    path.write_bytes(damaged(whole, rng, number % 3))
    try:
      examples = sequence_examples.read(tmp_path).splits['train']
    except UserError as error:
      assert path.name in str(error) or 'records that number' in str(error)
      outcomes['refused'] += 1
      continue
    for example in examples:
      try:
        jpegs = sources.jpegs(tmp_path, example)
        assert len(jpegs) == 12
        outcomes['read'] += 1
      except UnreadableVideo:
        outcomes['skipped'] += 1
  assert min(outcomes.values()) > 5

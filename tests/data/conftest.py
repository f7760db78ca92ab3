"""Broken files of every kind, and a folder of a few good ones."""

import pathlib

import numpy as np
import pytest

from vivit_jax.data import moving_shapes


def video(seed: int, frames: int = 23) -> np.ndarray:
  """Returns a smooth random video, uint8 [frames, 32, 48, 3]."""
  draw = np.random.default_rng(seed)
  rows, columns = np.mgrid[:32, :48]
  phase, speed = draw.uniform(0, 6, 3), draw.uniform(0.1, 0.4, 3)
  waves = np.sin(
    columns[None, ..., None] / 9
    + rows[None, ..., None] / 7
    + phase
    + speed * np.arange(frames)[:, None, None, None]
  )
  return (127 + 100 * waves).astype(np.uint8)


@pytest.fixture
def videos(tmp_path) -> pathlib.Path:
  """Returns a folder of good videos 0.mp4 to 9.mp4."""
  folder = tmp_path / 'videos'
  folder.mkdir()
  for number in range(10):
    moving_shapes.write_video(folder / f'{number}.mp4', video(number))
  return folder


def write_broken(folder: pathlib.Path) -> dict[str, str]:
  """Writes broken videos; returns name -> a word of the reason."""
  whole = (folder / '0.mp4').read_bytes()
  half = len(whole) // 2
  damaged = bytearray(whole)
  start = whole.index(b'mdat') + 4
  damaged[start : start + 900] = bytes(900)
  contents = {
    'empty.mp4': (b'', 'empty'),
    'text.mp4': (b'These are words, and no video.\n' * 50, 'not a video'),
    'cut.mp4': (whole[:half], 'damaged'),
    'damaged.mp4': (bytes(damaged), 'damaged'),
  }
  for name, (content, _) in contents.items():
    (folder / name).write_bytes(content)
  return {name: reason for name, (_, reason) in contents.items()} | {
    'missing.mp4': 'does not exist'
  }

"""A folder of good videos, broken ones of every kind, and their preparation."""

import pathlib

import numpy as np
import pytest

from vivit_jax.data import datasets, moving_shapes, prepare


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
    'text.mp4': (b'This is text, not a video.\n' * 50, 'not a video'),
    'cut.mp4': (whole[:half], 'damaged'),
    'damaged.mp4': (bytes(damaged), 'damaged'),
  }
  for name, (content, _) in contents.items():
    (folder / name).write_bytes(content)
  return {name: reason for name, (_, reason) in contents.items()} | {
    'missing.mp4': 'does not exist'
  }


def write_csv(folder, names):
  """Writes annotations of the class 'even' or 'odd'."""
  path = folder / 'annotations.csv'
  rows = [
    f'{name},{"odd" if number % 2 else "even"},train'
    for number, name in enumerate(names)
  ]
  path.write_text('\n'.join(['path,label,split', *rows]) + '\n')
  return path


def run(tmp_path, names, **options):
  """Prepares tmp_path/videos as 'videos/mine'; returns the summary."""
  arguments = {
    'videos': tmp_path / 'videos',
    'annotations': write_csv(tmp_path, names),
    'data_dir': tmp_path / 'data',
    'workers': 1,
  }
  return prepare.prepare('videos/mine', **arguments | options)


def opened(tmp_path, split='train'):
  """Opens a split of what `run` has prepared."""
  return datasets.open_split('videos/mine', tmp_path / 'data', split)


def names(count=10):
  return [f'{number}.mp4' for number in range(count)]

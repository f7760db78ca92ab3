"""Realistic videos for benchmarks: textures that move, in H.264, prepared.

They are as rich as real ones where it matters here: a frame has detail in all
sizes, so that its JPEG has the bytes of a photograph's, and moves throughout.
"""

import contextlib
import csv
import functools
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import av
import cv2
import numpy as np

from benchmarks.flags import make_folder
from vivit_jax import files, processes
from vivit_jax.data import datasets, prepare

DATASETS = {  # by their storage
  'jpeg': 'videos/benchmark',
  'video': 'videos/benchmark_video',
}
SPLIT = 'train'
FRAMES = 250  # Kinetics: 10 s of 25 frames
HEIGHT, WIDTH = 256, 340
_ENDED = (
  'a process that writes videos was ended from outside (is memory short?).'
)
_TEXTURE = 1024  # pixels of a texture's side, of which a frame is a part
_LAYERS = 4  # a background, and shapes that move before it


def prepared(
  data_dir: str | os.PathLike, videos: int, storages: Sequence[str]
) -> dict[str, str]:
  """Writes those of `DATASETS` into a folder that are not there.

  Args:
    data_dir: the folder.
    videos: how many, where they are written.
    storages: of those asked for.

  Returns:
    The names of those asked for, by their storage.

  Raises:
    UserError: the folder cannot be written.
  """
  asked = {storage: DATASETS[storage] for storage in storages}
  missing = {
    storage: name
    for storage, name in asked.items()
    if not datasets.find(name, data_dir)
  }
  if not missing:
    return asked
  make_folder('--cache', data_dir)
  print(f'writing {videos} videos, once, to {data_dir}', file=sys.stderr)
  with contextlib.redirect_stdout(sys.stderr):
    _write(pathlib.Path(data_dir), videos, missing)
  return asked


def _write(
  data_dir: pathlib.Path, videos: int, names: Mapping[str, str]
) -> None:
  """Writes videos, and prepares them as datasets of names by storage."""
  raw = data_dir / 'raw'
  raw.mkdir(parents=True, exist_ok=True)
  with processes.pool(os.cpu_count() or 1, _ENDED) as pool:
    with processes.interrupts_held():
      written = pool.map(functools.partial(write_video, raw), range(videos))
    list(written)
  with open(raw / 'annotations.csv', 'w', newline='') as file:
    rows = [(f'{video}.mp4', f'class {video % 4}') for video in range(videos)]
    csv.writer(file).writerows([('path', 'label'), *rows])
  for storage, name in names.items():
    prepare.prepare(
      name,
      videos=raw,
      annotations=raw / 'annotations.csv',
      data_dir=data_dir,
      storage=storage,
      short_side=256,
    )


def gigabytes_an_hour(data_dir: str | os.PathLike, dataset: str) -> float:
  """Returns what one of `DATASETS` takes on the disk."""
  folder = datasets.find(dataset, data_dir)
  size = sum(file.stat().st_size for file in folder.iterdir())
  split = datasets.open_split(dataset, data_dir, SPLIT)
  hours = float((split.frame_counts / split.rates).sum()) / 3600
  return size / 1e9 / hours


def write_video(folder: pathlib.Path, number: int) -> None:
  """Writes `<number>.mp4`, the same at any time, whole or not at all."""
  path = folder / f'{number}.mp4'
  if path.exists():
    return
  cv2.setNumThreads(1)
  with (
    files.replacing(path) as unfinished,
    av.open(str(unfinished), 'w', format='mp4') as container,
  ):
    stream = container.add_stream('libx264', rate=25)
    stream.height, stream.width = HEIGHT, WIDTH
    stream.pix_fmt = 'yuv420p'
    stream.thread_count = 1
    stream.options = {'crf': '20', 'preset': 'veryfast'}
    for image in _frames(np.random.default_rng(number)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _frames(rng: np.random.Generator) -> Iterator[np.ndarray]:
  """Yields uint8 [H, W, 3] frames of layers that drift, turn and breathe."""
  textures = [_texture(rng) for _ in range(_LAYERS)]
  speeds = rng.uniform(-2.5, 2.5, (_LAYERS, 2))  # pixels a frame
  turns = rng.uniform(-0.01, 0.01, _LAYERS)  # radians a frame
  phases = rng.uniform(0, 2 * np.pi, (_LAYERS, 3))
  rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
  for time in range(FRAMES):
    frame = None
    for texture, speed, turn, phase in zip(textures, speeds, turns, phases):
      scale = 1 + 0.1 * np.sin(time / 40 + phase[0])
      cos, sin = scale * np.cos(turn * time), scale * np.sin(turn * time)
      matrix = np.array([[cos, -sin, 400], [sin, cos, 400]])
      matrix[:, 2] += speed * time
      layer = cv2.warpAffine(
        texture,
        matrix,
        (WIDTH, HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
      )
      if frame is None:
        frame = layer
        continue
      x = WIDTH * (0.5 + 0.4 * np.sin(time / 30 + phase[1]))
      y = HEIGHT * (0.5 + 0.4 * np.sin(time / 25 + phase[2]))
      inside = (columns - x) ** 2 + (rows - y) ** 2 < (HEIGHT / 5) ** 2
      frame = np.where(inside[..., None], layer, frame)
    yield frame


def _texture(rng: np.random.Generator) -> np.ndarray:
  """Returns noise of all sizes, the coarse stronger: uint8, a square."""
  total = np.zeros((_TEXTURE, _TEXTURE, 3), np.float32)
  for octave in range(2, 11):
    noise = rng.standard_normal((2**octave, 2**octave, 1), np.float32)
    tint = rng.standard_normal((2**octave, 2**octave, 3), np.float32)
    size = (_TEXTURE, _TEXTURE)
    coarse = cv2.resize(
      noise + 0.3 * tint, size, interpolation=cv2.INTER_LINEAR
    )
    total += coarse * 45 * 0.72 ** (octave - 2)
  return np.clip(total + rng.uniform(80, 170, 3), 0, 255).astype(np.uint8)

"""The embedded dataset: short videos of textured shapes that move and return.

A video has a *noun*, its shape, and a *verb*, a motion and its reverse. Verbs
come in pairs with the two motions in opposite order (left then right, right
then left): both are the same loop, started half a loop apart. So a model that
averages over time can tell pairs apart, but not the two verbs of a pair. The
noun is visible in every frame.

Size, colour, texture, speed, turning point, start, orientation and background
are random and independent of the labels. `generate` writes H.264 .mp4 files
and annotations in Kinetics' layout, with the columns `verb` and `noun` instead
of `label`.
"""

import csv
import fractions
import functools
import math
import os
import pathlib

import av
import numpy as np
import tqdm

from vivit_jax import files, processes
from vivit_jax.data.scenes import NOUNS, VERBS, Scene, render
from vivit_jax.errors import UserError

SPLITS = {'train': 16000, 'validation': 800, 'test': 1600}
FRAMES_PER_SECOND = 10
SCENE = Scene()
_SECONDS = math.ceil(SCENE.frames / FRAMES_PER_SECOND)
_WORKER_KILLED = 'a worker process was killed (out of memory?): try again.'


def labels_of(number: int) -> tuple[str, str]:
  """Returns a video's verb and noun; all combinations are equally frequent."""
  verb, noun = divmod(number % (len(VERBS) * len(NOUNS)), len(NOUNS))
  return VERBS[verb], NOUNS[noun]


def write_video(path: pathlib.Path, video: np.ndarray) -> None:
  """Writes uint8 [T, H, W, 3] atomically as an H.264 .mp4."""
  with (
    files.replacing(path) as unfinished,
    av.open(str(unfinished), 'w', format='mp4') as container,
  ):
    stream = container.add_stream('libx264', rate=FRAMES_PER_SECOND)
    stream.height, stream.width = video.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    stream.thread_count = 1
    # x264's macroblock tree is not deterministic.
    stream.options = {'crf': '16', 'preset': 'veryfast', 'mbtree': '0'}
    stream.time_base = fractions.Fraction(1, FRAMES_PER_SECOND)
    for number, image in enumerate(video):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = number
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _identity(split: str, number: int) -> str:
  return f'{split}{number:06d}'


def _generator(split: str, number: int) -> np.random.Generator:
  seed = 0
  return np.random.default_rng([seed, list(SPLITS).index(split), number])


def _write_one(folder: pathlib.Path, split: str, number: int) -> None:
  path = folder / f'{_identity(split, number)}_{0:06d}_{_SECONDS:06d}.mp4'
  if not path.exists():
    rng = _generator(split, number)
    write_video(path, render(*labels_of(number), SCENE, rng))


def generate(
  folder: str | os.PathLike,
  counts: dict[str, int] | None = None,
  workers: int | None = None,
) -> None:
  """Writes videos and annotations; keeps existing videos.

  Args:
    folder: gets `annotations.csv` and `videos/<id>_<start>_<end>.mp4`.
    counts: number of videos in each split; None for `SPLITS`.
    workers: number of processes; None for one per core.
  """
  folder = pathlib.Path(folder)
  videos = [
    (split, number)
    for split, count in (counts or SPLITS).items()
    for number in range(count)
  ]
  try:
    (folder / 'videos').mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot write to {folder}: {error.strerror}.') from None
  write = functools.partial(_write_one, folder / 'videos')
  with processes.pool(workers or os.cpu_count() or 1, _WORKER_KILLED) as pool:
    with processes.defer_sigint():
      done = pool.map(write, *zip(*videos), chunksize=50)
    bar = tqdm.tqdm(done, total=len(videos), unit='video', desc='moving_shapes')
    for _ in bar:
      pass
  with open(folder / 'annotations.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(
      ['verb', 'noun', 'youtube_id', 'time_start', 'time_end', 'split']
    )
    for split, number in videos:
      identity = _identity(split, number)
      writer.writerow([*labels_of(number), identity, 0, _SECONDS, split])

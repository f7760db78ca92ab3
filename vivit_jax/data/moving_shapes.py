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

import concurrent.futures
import contextlib
import csv
import dataclasses
import fractions
import functools
import json
import math
import os
import pathlib
import sys

import av
import numpy as np
import tqdm
from absl import flags

from vivit_jax import commands, files, processes
from vivit_jax.data.scenes import NOUNS, VERBS, Scene, boxes, render
from vivit_jax.errors import UserError

SPLITS = {'train': 16000, 'validation': 800, 'test': 1600}
FRAMES_PER_SECOND = 10
DEFAULT_SCENE = Scene()


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


def _write_one(
  split: str, number: int, *, folder: pathlib.Path, scene: Scene, seed: int
) -> None:
  seconds = math.ceil(scene.frames / FRAMES_PER_SECOND)
  name = f'{_identity(split, number)}_{0:06d}_{seconds:06d}.mp4'
  path = folder / 'videos' / name
  if path.exists():
    return
  rng = _generator(split, number, seed)
  write_video(path, render(*labels_of(number), scene, rng))


def boxes_of(
  identity: str, scene: Scene = DEFAULT_SCENE, seed: int = 0
) -> np.ndarray:
  """Returns the shape's box in each frame of a video, as `scenes.boxes` does.

  Args:
    identity: video id, as in annotations.csv (without the times) or in records
      and file names (with them).
    scene, seed: as given to `generate`.
  """
  name = identity.split('_')[0]
  split, number = name[:-6], int(name[-6:])
  return boxes(*labels_of(number), scene, _generator(split, number, seed))


def _generator(split: str, number: int, seed: int) -> np.random.Generator:
  return np.random.default_rng([seed, list(SPLITS).index(split), number])


def _check_parameters(
  folder: pathlib.Path, parameters: dict[str, float]
) -> None:
  """Writes scene.json, or checks that existing videos have these parameters."""
  path = folder / 'scene.json'
  try:
    existing = json.loads(path.read_text('utf-8'))
  except (FileNotFoundError, ValueError):
    existing = None
  if existing is None and not any((folder / 'videos').iterdir()):
    path.write_text(json.dumps(parameters, indent=2) + '\n', 'utf-8')
  elif existing != parameters:
    raise UserError(
      f'{folder} has videos of another seed or scene: choose another folder, '
      'or remove that one.'
    )


def generate(
  folder: str | os.PathLike,
  *,
  counts: dict[str, int] | None = None,
  scene: Scene = DEFAULT_SCENE,
  seed: int = 0,
  workers: int | None = None,
) -> None:
  """Writes videos and annotations; keeps existing videos.

  Args:
    folder: gets `annotations.csv`, `videos/<id>_<start>_<end>.mp4`, and
      `scene.json`, which prevents mixing videos of two scenes.
    counts: number of videos in each split; None for `SPLITS`.
    scene: size, length and difficulty of the videos.
    seed: a video's random numbers come from (seed, split, number).
    workers: number of processes; None for one per core.

  Raises:
    UserError: invalid counts or seed, or a folder that cannot be written or
      has videos of another scene or seed.
  """
  folder = pathlib.Path(folder)
  counts = SPLITS if counts is None else counts
  if min(counts.values()) < 0 or not any(counts.values()):
    raise UserError(f'the numbers of videos are {counts}: use at least one.')
  if seed < 0:
    raise UserError(f'the seed is {seed}: use 0 or more.')
  try:
    (folder / 'videos').mkdir(parents=True, exist_ok=True)
    _check_parameters(folder, {'seed': seed, **dataclasses.asdict(scene)})
  except OSError as error:
    raise UserError(f'cannot write to {folder}: {error.strerror}.') from None
  write = functools.partial(_write_one, folder=folder, scene=scene, seed=seed)
  videos = [(s, n) for s, count in counts.items() for n in range(count)]
  with contextlib.ExitStack() as stack:
    # A Ctrl-C here would leave the pool half started, with warnings at exit.
    with processes.defer_sigint():
      pool = concurrent.futures.ProcessPoolExecutor(
        workers, processes.CONTEXT, processes.init_worker
      )
      # Ctrl-C does not wait for the remaining videos.
      stack.callback(pool.shutdown, cancel_futures=True)
      done = pool.map(write, *zip(*videos), chunksize=50)
      bar = stack.enter_context(
        tqdm.tqdm(done, total=len(videos), unit='video', desc='moving_shapes')
      )
    list(bar)
  seconds = math.ceil(scene.frames / FRAMES_PER_SECOND)
  with open(folder / 'annotations.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(
      ['verb', 'noun', 'youtube_id', 'time_start', 'time_end', 'split']
    )
    for split, number in videos:
      identity = _identity(split, number)
      writer.writerow([*labels_of(number), identity, 0, seconds, split])


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_string('out', 'data/raw/moving_shapes', 'Folder to write into.')
  flags.DEFINE_integer('seed', 0, 'Random seed.')
  for split, count in SPLITS.items():
    flags.DEFINE_integer(split, count, f'Number of {split} videos.')
  for field in dataclasses.fields(Scene):
    define = (
      flags.DEFINE_integer
      if isinstance(field.default, int)
      else flags.DEFINE_float
    )
    define(field.name, field.default, 'See Scene in vivit_jax/data/scenes.py.')


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  values = flags.FLAGS
  names = [field.name for field in dataclasses.fields(Scene)]
  generate(
    values.out,
    counts={split: values[split].value for split in SPLITS},
    scene=Scene(**{name: values[name].value for name in names}),
    seed=values.seed,
  )


if __name__ == '__main__':
  define_flags()
  usage = (
    'Writes the embedded dataset as .mp4 files and annotations.csv.\n\n'
    '  python -m vivit_jax.data.moving_shapes --out=FOLDER'
  )
  stopped = 'stopped; the same command goes on'
  sys.exit(commands.run(main, usage, interrupted=stopped))

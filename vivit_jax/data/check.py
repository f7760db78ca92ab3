"""Lists the unreadable videos of a prepared dataset or of a folder.

  python -m vivit_jax.data.check data/kinetics400
  python -m vivit_jax.data.check FOLDER_OF_VIDEOS

It decodes every video, on all cores, and writes no files.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import tqdm
from absl import flags

from vivit_jax import commands, processes
from vivit_jax.data import datasets, decode
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.index import splits_in
from vivit_jax.errors import UserError

_MAX_QUEUED = 10_000  # each takes memory
_WORKER_KILLED = (
  'a worker process was killed (out of memory?): try again with fewer '
  '--workers.'
)

Task = tuple[str, str | int]  # split and video, or '' and file
Fault = tuple[str, str]  # video and reason


def check(path: str | os.PathLike, workers: int | None = None) -> list[Fault]:
  """Decodes all videos of a folder; prints those that cannot be decoded.

  Args:
    path: folder of a prepared dataset, with or without the version, or folder
      of videos.
    workers: number of processes; None for one per core.

  Returns:
    (path, reason) of each video that cannot be decoded. In a prepared dataset,
    split and id replace the path.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    raise UserError(f'no folder at {path}.')
  is_version = (path / 'dataset_info.json').exists()
  records = path if is_version else datasets.find('.', path)
  if records is not None:
    tasks = [
      (split, video)
      for split in splits_in(records)
      for video in range(len(datasets.VideoSplit(records, split)))
    ]
  else:
    tasks = [
      ('', file.relative_to(path).as_posix())
      for file in sorted(path.rglob('*'))
      if file.suffix.lower() in decode.SUFFIXES
    ]
  if not tasks:
    raise UserError(
      f'{path} has neither a prepared dataset nor videos '
      f'({" ".join(decode.SUFFIXES)}).'
    )
  _opened.cache_clear()
  faults = []
  outcomes = _decoded(records or path, tasks, workers)
  for fault in tqdm.tqdm(outcomes, total=len(tasks), unit='video'):
    if fault is not None:
      faults.append(fault)
      tqdm.tqdm.write(f'{fault[0]} {fault[1]}')
  print(f'{path}: {len(tasks)} videos, {len(faults)} that cannot be decoded')
  return faults


def _decoded(
  folder: pathlib.Path, tasks: Sequence[Task], workers: int | None
) -> Iterator[Fault | None]:
  """Yields the outcome of each task, in their order."""
  decode_one = functools.partial(_fault, folder)
  workers = min(workers or os.cpu_count() or 1, len(tasks))
  if workers == 1:
    yield from map(decode_one, tasks)
    return
  with processes.pool(workers, _WORKER_KILLED) as pool:
    with processes.defer_sigint():
      size = 1 + len(tasks) // _MAX_QUEUED
      outcomes = pool.map(decode_one, tasks, chunksize=size)
    yield from outcomes


def _fault(folder: pathlib.Path, task: Task) -> Fault | None:
  """Decodes one video; returns its fault, or None."""
  split, video = task
  if split:
    source = _opened(folder, split)
    name = f'{split}: {source.ids[video]}'
    frames = source.decode_frames(video, range(source.frame_counts[video]))
  else:
    name, frames = video, decode.decode_video(folder / video)
  try:
    for _ in frames:
      pass
  except UnreadableVideo as error:
    return name, error.reason
  return None


@functools.lru_cache(4)
def _opened(folder: pathlib.Path, split: str) -> datasets.VideoSplit:
  return datasets.VideoSplit(folder, split)


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_integer(
    'workers', None, 'Processes; by default, one per core.', lower_bound=1
  )
  flags.DEFINE_alias('num_workers', 'workers')


def main(arguments: list[str]) -> int:
  (path,) = commands.positional(arguments, 'path')
  return 1 if check(path, flags.FLAGS.workers) else 0


if __name__ == '__main__':
  define_flags()
  sys.exit(commands.run(main, __doc__, interrupted='stopped'))

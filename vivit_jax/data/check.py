"""What cannot be decoded, of records or of a folder of videos.

  python -m vivit_jax.data.check data/kinetics400
  python -m vivit_jax.data.check FOLDER_OF_VIDEOS

Everything is decoded, with all cores, and nothing is written.
"""

import concurrent.futures
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
from vivit_jax.errors import UserError

_AHEAD = 32  # tasks of each process that wait for it
_ENDED = (
  'a process that decodes was ended from outside (is memory short?): try again '
  'with fewer --workers.'
)

Task = tuple[str, str | int]  # a split's name, or '' for files; which of it
Fault = tuple[str, str]  # which video, and why


def check(path: str | os.PathLike, workers: int | None = None) -> list[Fault]:
  """Decodes all videos of a folder; prints those that cannot be.

  Args:
    path: of a prepared dataset, with its version or without, or a folder of
      videos.
    workers: processes; None for one a core.

  Returns:
    Of each that cannot be decoded, its path (of records: split and id), and
    the reason as the rest of a sentence.

  Raises:
    UserError: no such folder, or neither records nor videos in it.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    raise UserError(f'there is no folder {path}.')
  records = _records(path)
  if records is not None:
    suffix = '.index.json'
    names = [file.name for file in sorted(records.glob(f'*{suffix}'))]
    tasks = [
      (split, video)
      for split in (name.removesuffix(suffix) for name in names)
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
      f'{path} holds neither a prepared dataset nor videos '
      f'({" ".join(decode.SUFFIXES)}).'
    )
  faults = []
  for fault in _run(records or path, tasks, workers):
    faults.append(fault)
    tqdm.tqdm.write(f'{fault[0]} {fault[1]}')
  print(f'{path}: {len(tasks)} videos, {len(faults)} that cannot be decoded')
  return faults


def _records(path: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of records that a path means, or None."""
  if (path / 'dataset_info.json').exists():
    return path
  return datasets.find('.', path)


def _run(
  folder: pathlib.Path, tasks: Sequence[Task], workers: int | None
) -> Iterator[Fault]:
  """Yields the faults that worker processes find, in no order."""
  workers = min(workers or os.cpu_count() or 1, len(tasks))
  todo, waiting = iter(tasks), {}
  with (
    processes.pool(workers, _ENDED) as pool,
    tqdm.tqdm(total=len(tasks), unit='video', smoothing=0.05) as bar,
  ):
    while True:
      with processes.interrupts_held():
        for task in todo:
          waiting[pool.submit(_fault, folder, task)] = task
          if len(waiting) >= _AHEAD * workers:
            break
      if not waiting:
        break
      done, _ = concurrent.futures.wait(
        waiting, None, concurrent.futures.FIRST_COMPLETED
      )
      for future in done:
        del waiting[future]
        bar.update()
        if future.result() is not None:
          yield future.result()


def _fault(folder: pathlib.Path, task: Task) -> Fault | None:
  """Returns what is wrong with one video."""
  split, which = task
  try:
    if split:
      return _fault_of_record(_opened(folder, split), split, which)
    for _ in decode.decode_video(folder / which):
      pass
  except UnreadableVideo as error:
    return which, error.reason
  return None


@functools.lru_cache(4)
def _opened(folder: pathlib.Path, split: str) -> datasets.VideoSplit:
  return datasets.VideoSplit(folder, split)


def _fault_of_record(
  source: datasets.VideoSplit, split: str, video: int
) -> Fault | None:
  name = f'{split}: {source.ids[video]}'
  try:
    for _ in source.decode_frames(video, range(source.frame_counts[video])):
      pass
  except UnreadableVideo as error:
    return name, error.reason
  return None


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_integer(
    'workers', None, 'Processes; the default is one a core.', lower_bound=1
  )
  flags.DEFINE_alias('num_workers', 'workers')


def main(arguments: list[str]) -> int:
  (path,) = commands.positional(arguments, 'path')
  return 1 if check(path, flags.FLAGS.workers) else 0


if __name__ == '__main__':
  define_flags()
  sys.exit(commands.run(main, __doc__, interrupted='stopped'))

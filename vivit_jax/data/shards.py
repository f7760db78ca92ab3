"""Writing shards with all cores, so that a stopped run can go on.

A shard holds a run of consecutive videos of a split. When it is whole, a JSON
file beside it says which videos it holds and which were broken: a shard that
has its JSON is not made again.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import tqdm

from vivit_jax import files, processes
from vivit_jax.data import records, sources, storage
from vivit_jax.data.annotations import Example, Splits
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.errors import UserError

_VIDEOS = 64  # of a shard, within these bounds:
_LEAST_SHARDS = 16  # of a split, lest a small one occupy few cores
_MOST_SHARDS = 256  # of a split: a process may hold all of them open
_ENDED = (
  'a process that writes shards was ended from outside (is memory short?): run '
  'the same command again, perhaps with fewer --workers.'
)


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write.

  Attributes:
    split: of its videos.
    path: of the shard's file.
    examples: its videos.
    videos: the folder of the video files.
    form: of the frames in the records.
  """

  split: str
  path: pathlib.Path
  examples: Sequence[Example]
  videos: pathlib.Path
  form: storage.Form

  @property
  def report_path(self) -> pathlib.Path:
    return self.path.with_name(f'{self.path.name}.json')


def plan(
  dataset: str,
  splits: Splits,
  folder: pathlib.Path,
  videos: pathlib.Path,
  form: storage.Form,
) -> list[Task]:
  """Returns the tasks that write a dataset's shards into a folder."""
  tasks = []
  for split, examples in splits.items():
    count = -(-len(examples) // _VIDEOS)
    count = min(max(count, _LEAST_SHARDS), _MOST_SHARDS, len(examples))
    bounds = [len(examples) * i // count for i in range(count + 1)]
    for shard in range(count):
      tasks.append(
        Task(
          split,
          folder / records.shard_name(dataset, split, shard, count),
          examples[bounds[shard] : bounds[shard + 1]],
          videos,
          form,
        )
      )
  return tasks


def write(tasks: Sequence[Task], workers: int | None) -> list[dict[str, Any]]:
  """Writes the shards that are not there yet; returns every shard's report.

  A report has `records`, their number, and the videos that are `good` (`id`,
  `path`, `frames`, `seconds`, `rate`) and `broken` (`id`, `path`, `reason`).

  Raises:
    UserError: a file that cannot be written, or a worker that was ended.
  """
  try:
    _run(tasks, workers)
  except OSError as error:
    raise UserError(
      f'cannot write {error.filename or tasks[0].path.parent}: '
      f'{error.strerror or error}. The same command goes on from here.'
    ) from None
  return [_report(task) for task in tasks]


def _run(tasks: Sequence[Task], workers: int | None) -> None:
  todo = [task for task in tasks if _report(task) is None]
  workers = workers or os.cpu_count() or 1
  videos = sum(len(task.examples) for task in tasks)
  start = videos - sum(len(task.examples) for task in todo)
  with contextlib.ExitStack() as stack:
    with processes.interrupts_held():  # half made, they warn at the end
      counter = processes.CONTEXT.Value('q', 0)
      pool = stack.enter_context(
        processes.pool(
          min(workers, max(len(todo), 1)), _ENDED, _start_worker, (counter,)
        )
      )
      bar = stack.enter_context(
        tqdm.tqdm(total=videos, initial=start, unit='video', smoothing=0.05)
      )
      waiting = {pool.submit(_write_shard, task) for task in todo}
    while waiting:
      done, waiting = concurrent.futures.wait(
        waiting, 0.3, concurrent.futures.FIRST_EXCEPTION
      )
      for future in done:
        future.result()
      bar.update(start + counter.value - bar.n)


def _start_worker(counter) -> None:
  processes.obey_parent()
  _write_shard.counter = counter


def _write_shard(task: Task) -> None:
  """Decodes a shard's videos and writes them, then the report."""
  good, broken = [], []
  with records.open_shard(task.path) as writer:
    for example in task.examples:
      try:
        chunks = sources.chunks(task.videos, example, task.form)
        seconds = sources.seconds(task.videos, example)
        rate = sources.rate(task.videos, example)
      except UnreadableVideo as error:
        path = sources.locate(task.videos, example)
        broken.append(
          {
            'id': example.id,
            'path': example.path,
            'reason': error.reason,
            'file': _stamp(path),
          }
        )
      else:
        count = 0
        for frames, held in chunks:
          writer.write(records.serialise(example.id, count, held))
          count += frames
        good.append(
          {
            'id': example.id,
            'path': example.path,
            'frames': count,
            'seconds': seconds,
            'rate': rate,
          }
        )
      with _write_shard.counter.get_lock():
        _write_shard.counter.value += 1
  report = {'records': writer.records, 'good': good, 'broken': broken}
  with files.replacing(task.report_path) as unfinished:
    unfinished.write_text(json.dumps(report), 'utf-8')


def _report(task: Task) -> dict[str, Any] | None:
  """Reads a shard's report; None if the shard must be written (again).

  It must where a broken video's file has changed since: it may be mended.
  """
  try:
    report = json.loads(task.report_path.read_text('utf-8'))
  except (OSError, ValueError):
    return None
  examples = {example.id: example for example in task.examples}
  mended = any(
    video.get('id') not in examples
    or video['file']
    != _stamp(sources.locate(task.videos, examples[video['id']]))
    for video in report['broken']
  )
  return None if mended or not task.path.exists() else report


def _stamp(path: pathlib.Path) -> list[int] | None:
  """Returns `files.stamp` as JSON gives it back."""
  found = files.stamp(path)
  return None if found is None else list(found)

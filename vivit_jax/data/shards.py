"""Writing of shards by worker processes; an interrupted run can resume.

A shard holds consecutive videos of a split. A JSON report beside it lists the
videos that it holds and the broken ones. A shard with a report is complete, and
is written again only if the file of a broken video has changed.
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
from vivit_jax.data import raw_videos, records, storage
from vivit_jax.data.annotations import Example, Splits
from vivit_jax.data.containers import UnreadableVideo

_VIDEOS = 64  # per shard, within these bounds:
_MIN_SHARDS = 16  # per split, so that a small split occupies all cores
_MAX_SHARDS = 256  # per split: a process may hold all of them open
_WORKER_KILLED = (
  'a worker process was killed (out of memory?): run the same command again, '
  'perhaps with fewer --workers.'
)


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write.

  Attributes:
    split: name of its split.
    path: file to write.
    examples: its videos.
    videos: the folder of video files.
    options: how frames are encoded.
  """

  split: str
  path: pathlib.Path
  examples: Sequence[Example]
  videos: pathlib.Path
  options: storage.EncodingOptions

  @property
  def report_path(self) -> pathlib.Path:
    return self.path.with_name(f'{self.path.name}.json')


def plan(
  dataset: str,
  splits: Splits,
  folder: pathlib.Path,
  videos: pathlib.Path,
  options: storage.EncodingOptions,
) -> list[Task]:
  """Returns the tasks that write a dataset's shards into `folder`."""
  tasks = []
  for split, examples in splits.items():
    count = -(-len(examples) // _VIDEOS)
    count = min(max(count, _MIN_SHARDS), _MAX_SHARDS, len(examples))
    bounds = [len(examples) * i // count for i in range(count + 1)]
    for shard in range(count):
      path = folder / records.shard_name(dataset, split, shard, count)
      in_shard = examples[bounds[shard] : bounds[shard + 1]]
      tasks.append(Task(split, path, in_shard, videos, options))
  return tasks


def write(tasks: Sequence[Task], workers: int | None) -> list[dict[str, Any]]:
  """Writes the missing shards, and returns the reports of all shards.

  A report has the number of `records`, the `good` videos (`id`, `path`,
  `frames`, `seconds`, `rate`) and the `broken` ones (`id`, `path`, `reason`,
  `file`).

  Raises:
    OSError: a file cannot be written.
    UserError: a worker was killed.
  """
  pending = [task for task in tasks if _report(task) is None]
  workers = workers or os.cpu_count() or 1
  videos = sum(len(task.examples) for task in tasks)
  initial = videos - sum(len(task.examples) for task in pending)
  with contextlib.ExitStack() as stack:
    # A Ctrl-C here would leave the pool half started, with warnings at exit.
    with processes.defer_sigint():
      counter = processes.CONTEXT.Value('q', 0)
      pool = stack.enter_context(
        processes.pool(
          min(workers, max(len(pending), 1)),
          _WORKER_KILLED,
          _start_worker,
          (counter,),
        )
      )
      bar = stack.enter_context(
        tqdm.tqdm(total=videos, initial=initial, unit='video', smoothing=0.05)
      )
      running = {pool.submit(_write_shard, task) for task in pending}
    while running:
      done, running = concurrent.futures.wait(
        running, 0.3, concurrent.futures.FIRST_EXCEPTION
      )
      for future in done:
        future.result()
      bar.update(initial + counter.value - bar.n)
  return [_report(task) for task in tasks]


def _start_worker(counter) -> None:
  processes.init_worker()
  _write_shard.counter = counter


def _write_shard(task: Task) -> None:
  """Decodes and writes a shard's videos, then its report."""
  good, broken = [], []
  with records.open_shard(task.path) as writer:
    for example in task.examples:
      try:
        chunks = raw_videos.chunks(task.videos, example, task.options)
        seconds = raw_videos.seconds(task.videos, example)
        rate = raw_videos.rate(task.videos, example)
      except UnreadableVideo as error:
        broken.append(
          {
            'id': example.id,
            'path': example.path,
            'reason': error.reason,
            'file': _stamp(raw_videos.locate(task.videos, example)),
          }
        )
      else:
        first_frame = 0
        for count, frames in chunks:
          writer.write(records.serialise(example.id, first_frame, frames))
          first_frame += count
        good.append(
          {
            'id': example.id,
            'path': example.path,
            'frames': first_frame,
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
  """Returns a shard's report, or None if the shard must be written."""
  try:
    report = json.loads(task.report_path.read_text('utf-8'))
  except (OSError, ValueError):
    return None
  examples = {example.id: example for example in task.examples}
  changed = any(
    video.get('id') not in examples
    or video['file']
    != _stamp(raw_videos.locate(task.videos, examples[video['id']]))
    for video in report['broken']
  )
  return None if changed or not task.path.exists() else report


def _stamp(path: pathlib.Path) -> list[int] | None:
  """Returns `files.stamp` as a list, for comparison with JSON."""
  stamp = files.stamp(path)
  return None if stamp is None else list(stamp)

"""Writing of shards by worker processes; an interrupted run can resume.

A shard holds consecutive videos of a split. A JSON report beside it lists the
videos that it holds and the broken ones. A shard with a report is complete, and
is written again only if the file of a broken video has changed.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
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


@dataclasses.dataclass
class Written:
  """The shards of a split."""

  lengths: list[int]  # number of records in each shard
  good: list[dict[str, Any]]  # `id`, `path`, `frames` and `rate` of each video
  # `id`, `path` (of what was read), `reason` and `file` of each video left out.
  broken: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write: its file, and its videos from the folder `videos`."""

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
      # TFDS's scheme of names.
      name = f'{dataset}-{split}.array_record-{shard:05d}-of-{count:05d}'
      in_shard = examples[bounds[shard] : bounds[shard + 1]]
      tasks.append(Task(split, folder / name, in_shard, videos, options))
  return tasks


def write(tasks: Sequence[Task], workers: int | None) -> dict[str, Written]:
  """Writes the missing shards; returns the shards of each split."""
  pending = [task for task in tasks if _report(task) is None]
  videos = sum(len(task.examples) for task in tasks)
  initial = videos - sum(len(task.examples) for task in pending)
  workers = min(workers or os.cpu_count() or 1, len(pending))
  with tqdm.tqdm(
    total=videos, initial=initial, unit='video', smoothing=0.05
  ) as bar:
    if workers > 1:
      _write_in_processes(pending, workers, bar)
    else:
      for task in pending:
        _write_shard(task, bar.update)
  splits: dict[str, Written] = {}
  for task in tasks:
    report = _report(task)
    split = splits.setdefault(task.split, Written([], [], []))
    split.lengths.append(report['records'])
    split.good += report['good']
    split.broken += report['broken']
  return splits


def _write_in_processes(
  tasks: Sequence[Task], workers: int, bar: tqdm.tqdm
) -> None:
  counter = processes.CONTEXT.Value('q', 0)
  with processes.pool(
    workers, _WORKER_KILLED, _start_worker, (counter,)
  ) as pool:
    with processes.defer_sigint():
      running = {pool.submit(_write_shard, task, _count) for task in tasks}
    initial = bar.n
    while running:
      done, running = concurrent.futures.wait(
        running, 0.3, concurrent.futures.FIRST_EXCEPTION
      )
      for future in done:
        future.result()
      bar.update(initial + counter.value - bar.n)


def _start_worker(counter) -> None:
  processes.init_worker()
  _count.counter = counter


def _count() -> None:
  with _count.counter.get_lock():
    _count.counter.value += 1


def _write_shard(task: Task, advance: Callable[[], Any]) -> None:
  """Writes a shard and its report; calls `advance` after each video."""
  good, broken = [], []
  with records.open_shard(task.path) as writer:
    for example in task.examples:
      try:
        chunks = raw_videos.chunks(task.videos, example, task.options)
        rate = raw_videos.rate(task.videos, example)
      except UnreadableVideo as error:
        read = raw_videos.locate(task.videos, example)
        path = read.relative_to(task.videos).as_posix()
        fault = {'reason': error.reason, 'file': _stamp(task, example)}
        broken.append({'id': example.id, 'path': path, **fault})
      else:
        first_frame = 0
        for count, frames in chunks:
          writer.write(records.serialise(example.id, first_frame, frames))
          first_frame += count
        facts = {'frames': first_frame, 'rate': rate}
        good.append({'id': example.id, 'path': example.path, **facts})
      advance()
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
    or video['file'] != _stamp(task, examples[video['id']])
    for video in report['broken']
  )
  return None if changed or not task.path.exists() else report


def _stamp(task: Task, example: Example) -> list[int] | None:
  """Returns `files.stamp` of a video as a list, as JSON has it."""
  stamp = files.stamp(raw_videos.locate(task.videos, example))
  return None if stamp is None else list(stamp)

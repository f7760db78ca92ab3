"""How fast a stream of batches comes, and what memory and time its tree takes.

The tree is the calling process and all that it has started.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

_PROC = pathlib.Path('/proc')
_FILL_SECONDS = 1.5  # in which buffers fill, if nobody takes from them


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What a stream of clips gives and takes; None where it is not known.

  Attributes:
    speed: clips a second.
    clip_seconds: CPU time of a clip, of all processes.
    clip_bytes: of a clip's pixels, as they are handed over.
    memory: bytes of all processes with full buffers, shared ones once (PSS).
    worker_memory: the same of a worker process, the mean.
  """

  speed: float
  clip_seconds: float | None = None
  clip_bytes: int | None = None
  memory: int | None = None
  worker_memory: int | None = None


def stream(
  batches: Iterator[Any],
  batch_size: int,
  *,
  seconds: float,
  warm_batches: int,
  warm_seconds: float = 0.0,
  workers: int = 0,
) -> Measurement:
  """Measures a stream once it is warm; `clip_bytes` is left out.

  Args:
    batches: the stream.
    batch_size: clips of a batch.
    seconds: to measure, at least.
    warm_batches, warm_seconds: before that, at least.
    workers: how many of the processes are workers: the largest.
  """
  begin = time.perf_counter()
  while warm_batches > 0 or time.perf_counter() - begin < warm_seconds:
    next(batches)
    warm_batches -= 1
  processes = tree()
  used = _cpu_seconds(processes)
  begin, clips, passed = time.perf_counter(), 0, 0.0
  while passed < seconds:
    next(batches)
    clips += batch_size
    passed = time.perf_counter() - begin
  speed, used = clips / passed, _cpu_seconds(processes) - used
  time.sleep(_FILL_SECONDS)
  first, *others = memory = [_memory(process) for process in processes]
  largest = sorted(others, reverse=True)[:workers]
  return Measurement(
    speed=speed,
    clip_seconds=used / clips if first else None,
    memory=sum(memory) or None,
    worker_memory=round(sum(largest) / workers) if workers else None,
  )


def tree(process: int | None = None) -> list[int]:
  """Returns a process, this one by default, and all that it has started.

  Itself first.
  """
  parents = {}
  for folder in _PROC.glob('[0-9]*'):
    fields = _fields(int(folder.name))
    if fields:
      parents[int(folder.name)] = int(fields[1])
  found = [os.getpid() if process is None else process]
  for process in found:  # grows
    found += [child for child, parent in parents.items() if parent == process]
  return found


def _fields(process: int) -> list[str]:
  """Returns the fields of /proc/PID/stat after the name, [] if it is gone."""
  try:
    return (
      (_PROC / str(process) / 'stat').read_text().rpartition(')')[2].split()
    )
  except OSError:
    return []


def _cpu_seconds(processes: list[int]) -> float:
  ticks = sum(
    int(fields[11]) + int(fields[12])  # utime, stime
    for fields in map(_fields, processes)
    if fields
  )
  return ticks / os.sysconf('SC_CLK_TCK')


def _memory(process: int) -> int:
  """Returns the proportional set size (PSS) in bytes; 0 where unknown."""
  try:
    text = (_PROC / str(process) / 'smaps_rollup').read_text()
  except OSError:
    return 0
  return next(
    int(line.split()[1]) * 1024
    for line in text.splitlines()
    if line.startswith('Pss:')
  )

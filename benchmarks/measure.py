"""Shared by all benchmarks: rounds by turns, ratios, processes, their cost."""

import argparse
import datetime
import importlib.metadata
import operator
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vivit_jax import processes

_FILL_SECONDS = 1.5  # in which prefetch buffers fill while nobody reads
_ENDED = 'a measuring process was killed from outside (is memory short?).'
_RELATIONS = {'<': operator.lt, '<=': operator.le, '>=': operator.ge}

Name = TypeVar('Name')
Result = TypeVar('Result')


def by_turns(
  runs: Mapping[Name, Callable[[], Result]], rounds: int, warm_up: bool = False
) -> dict[Name, list[Result]]:
  """Calls every function once a round, and returns the results by name.

  What slows the machine for a while then slows all of them. Every second round
  runs in reverse order. A round to warm up, if asked for, is discarded.
  """
  results = {name: [] for name in runs}
  for number in range(1 - warm_up, rounds + 1):
    for name in list(runs) if number % 2 else reversed(runs):
      print(f'round {number}: {name}', file=sys.stderr, flush=True)
      results[name].append(runs[name]())
  return {name: values[int(warm_up) :] for name, values in results.items()}


def timed(run: Callable[[], Any]) -> float:
  """Calls a function and returns the seconds it took."""
  begin = time.perf_counter()
  run()
  return time.perf_counter() - begin


def ratio(
  above: Sequence[float], below: Sequence[float], goal: str | None = None
) -> str:
  """Returns the median of the rounds' ratios with their lowest and highest.

  A goal is a bound on the median, '<= 0.25' for one; its result is appended.
  """
  ratios = [a / b for a, b in zip(above, below, strict=True)]
  median = statistics.median(ratios)
  text = f'{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})'
  if goal is None:
    return text
  relation, limit = goal.split()
  reached = _RELATIONS[relation](round(median, 2), float(limit))
  return f'{text}, goal {goal}: {"reached" if reached else "missed"}'


def median(values: Sequence[float], digits: int = 1) -> str:
  """Returns the median as the cell of a table."""
  return f'{statistics.median(values):.{digits}f}'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a Markdown table and an empty line."""
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines) + '\n'


def parser(description: str) -> argparse.ArgumentParser:
  """Returns a parser of flags whose help is a module's docstring."""
  form = argparse.RawDescriptionHelpFormatter
  return argparse.ArgumentParser(description=description, formatter_class=form)


def count(text: str) -> int:
  """Parses a flag that is a whole number of at least 1."""
  if int(text) < 1:
    raise argparse.ArgumentTypeError(f'{text} is less than 1')
  return int(text)


def apart(
  function: Callable[..., Result],
  *arguments: Any,
  cores: Sequence[int] | None = None,
) -> Result:
  """Calls a function in a new process, which may use only some of the cores."""
  with processes.pool(1, _ENDED, _begin, (cores,)) as pool:
    with processes.interrupts_held():
      waiting = pool.submit(function, *arguments)
    return waiting.result()


def _begin(cores: Sequence[int] | None) -> None:
  processes.obey_parent()
  if cores is not None:
    os.sched_setaffinity(0, cores)


def cores() -> list[int]:
  """Returns the cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def stream(
  batches: Iterator[Any],
  batch_size: int,
  *,
  seconds: float,
  warm_batches: int,
  warm_seconds: float = 0.0,
) -> dict[str, float]:
  """Measures a stream after a warm-up, in this process and its descendants.

  `seconds`, `warm_batches` and `warm_seconds` are minimums.

  Returns:
    clips/s and, on Linux, CPU ms/clip of all processes and MB memory with full
    buffers, shared pages counted once (PSS).
  """
  begin = time.perf_counter()
  while warm_batches > 0 or time.perf_counter() - begin < warm_seconds:
    next(batches)
    warm_batches -= 1
  members = tree(os.getpid())
  used = _cpu_seconds(members)
  begin, clips, passed = time.perf_counter(), 0, 0.0
  while passed < seconds:
    next(batches)
    clips += batch_size
    passed = time.perf_counter() - begin
  used = _cpu_seconds(members) - used
  time.sleep(_FILL_SECONDS)
  found = {'clips/s': clips / passed}
  if memory := sum(map(_memory, members)):
    found |= {'CPU ms/clip': 1e3 * used / clips, 'MB memory': memory / 1e6}
  return found


def tree(process: int) -> list[int]:
  """Returns a process and all its descendants, itself first (Linux)."""
  parents = {}
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    if fields := _stat(int(folder.name)):
      parents[int(folder.name)] = int(fields[1])
  members = [process]
  for member in members:  # grows
    members += [child for child, parent in parents.items() if parent == member]
  return members


def read_proc(*parts: object) -> str:
  """Returns the text of a file in /proc, '' where there is none."""
  try:
    return pathlib.Path('/proc', *map(str, parts)).read_text()
  except OSError:
    return ''


def _stat(process: int) -> list[str]:
  """Returns the fields of /proc/PID/stat after the name."""
  return read_proc(process, 'stat').rpartition(')')[2].split()


def _cpu_seconds(members: Iterable[int]) -> float:
  stats = filter(None, map(_stat, members))
  ticks = sum(int(fields[11]) + int(fields[12]) for fields in stats)
  return ticks / os.sysconf('SC_CLK_TCK')


def _memory(process: int) -> int:
  """Returns the proportional set size (PSS) in bytes; 0 where unknown."""
  lines = map(str.split, read_proc(process, 'smaps_rollup').splitlines())
  return sum(int(line[1]) * 1024 for line in lines if line[0] == 'Pss:')


def machine(*packages: str) -> str:
  """Returns the date, the processor and the versions of packages, one line."""
  lines = [x.split(':') for x in read_proc('cpuinfo').splitlines()]
  names = [x[1].strip() for x in lines if x[0].startswith('model name')]
  name = names[0] if names else platform.machine()
  versions = [f'Python {platform.python_version()}']
  for package in packages:
    try:
      versions.append(f'{package} {importlib.metadata.version(package)}')
    except importlib.metadata.PackageNotFoundError:
      versions.append(f'no {package}')
  today = datetime.date.today().isoformat()
  return f'{today}; {len(cores())} cores of {name}; {", ".join(versions)}.\n'

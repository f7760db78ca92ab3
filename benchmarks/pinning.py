"""Which cores of this machine a process and its workers run on; Linux."""

import contextlib
import os
import pathlib
from collections.abc import Sequence

from benchmarks import measure
from vivit_jax.errors import UserError


def halves(cores: Sequence[int]) -> tuple[list[int], list[int]]:
  """Returns the cores of the device, and those of the workers.

  Raises:
    UserError: there is one core.
  """
  cores = sorted(cores)
  if len(cores) < 2:
    raise UserError('two cores are needed: one to compute, one to decode.')
  middle = len(cores) // 2
  return cores[:middle], cores[middle:]


def pin_workers(process: int, cores: Sequence[int]) -> int:
  """Moves the worker processes of a process, and their threads, to cores.

  Returns:
    How many workers there are.
  """
  workers = [
    child
    for child in measure.tree(process)
    if child != process and _is_worker(child)
  ]
  for worker in workers:
    for task in pathlib.Path(f'/proc/{worker}/task').iterdir():
      with contextlib.suppress(ProcessLookupError):  # a thread that has ended
        os.sched_setaffinity(int(task.name), cores)
  return len(workers)


def _is_worker(process: int) -> bool:
  """Returns whether Python's multiprocessing started it, to do work."""
  try:
    command = pathlib.Path(f'/proc/{process}/cmdline').read_bytes()
  except OSError:
    return False
  return b'multiprocessing.spawn' in command

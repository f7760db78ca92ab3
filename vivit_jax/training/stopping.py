"""Signals that end a run after a step, in all its processes at the same one."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import jax

from vivit_jax import parallel
from vivit_jax.errors import INTERRUPTED, TERMINATED


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int]]:
  """Gives what tells the signal that came, SIGINT or SIGTERM, or 0.

  A second one ends the process at once: files are written whole or not at all,
  and worker processes end with this.
  """
  came = []

  def note(signum, frame):
    del frame
    if came:
      os.write(2, b'\ninterrupted\n')
      os._exit(exit_code(signum))
    came.append(signum)

  before = {
    which: signal.signal(which, note)
    for which in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield lambda: came[0] if came else 0
  finally:
    for which, handler in before.items():
      signal.signal(which, handler)


def agreement() -> Callable[[int], int]:
  """Returns a signal here -> the signal that all processes stop by, or 0.

  They learn of it a step later, so that none waits for another.
  """
  if jax.process_count() == 1:
    return lambda signum: signum
  asked = []

  def agree(signum: int) -> int:
    asked.append(parallel.most_anywhere(signum))
    return int(parallel.unreplicate(asked.pop(0))) if len(asked) > 1 else 0

  return agree


def exit_code(signum: int) -> int:
  """Returns the exit code of a run that a signal stopped."""
  return INTERRUPTED if signum == signal.SIGINT else TERMINATED

"""Signals that end a run after a step, in all its processes at the same one."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from vivit_jax import parallel
from vivit_jax.errors import INTERRUPTED, TERMINATED


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int]]:
  """Gives what tells the signal that came, SIGINT or SIGTERM, or 0.

  A second one, of either kind, ends the process at once: files are written
  whole or not at all, and worker processes end with this. To be entered in the
  main thread.
  """
  came = []
  before = {
    which: signal.signal(which, lambda signum, _: came.append(signum))
    for which in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    with _second_ends():
      yield lambda: came[0] if came else 0
  finally:
    for which, handler in before.items():
      signal.signal(which, handler)


@contextlib.contextmanager
def _second_ends() -> Iterator[None]:
  """Ends the process at the second signal, also while XLA compiles.

  Python's handlers wait until the main thread is back from C++; that a signal
  came is written to a pipe at once.
  """
  reading, writing = os.pipe()
  os.set_blocking(writing, False)
  before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
  watcher = threading.Thread(target=_end_at_second, args=(reading,))
  watcher.daemon = True
  watcher.start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(before)
    os.close(writing)  # which ends the watcher
    watcher.join()
    os.close(reading)


def _end_at_second(reading: int) -> None:
  came = 0
  while signum := os.read(reading, 1):
    came += signum[0] in (signal.SIGINT, signal.SIGTERM)
    if came > 1:
      os.write(2, b'\ninterrupted\n')
      os._exit(exit_code(signum[0]))


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

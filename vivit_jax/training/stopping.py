"""Stops a run after a step on SIGINT or SIGTERM, in all its processes."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from vivit_jax import parallel
from vivit_jax.errors import INTERRUPTED, TERMINATED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int]]:
  """Catches SIGINT and SIGTERM; yields a function that returns the first one.

  The function returns 0 before the first signal. A second one, of either kind,
  ends the process at once, which is safe: files are written atomically, and
  worker processes end with their parent. Enter this in the main thread.
  """
  received = []
  handlers = {
    which: signal.signal(which, lambda signum, _: received.append(signum))
    for which in _SIGNALS
  }
  try:
    with _exit_on_second():
      yield lambda: received[0] if received else 0
  finally:
    for which, handler in handlers.items():
      signal.signal(which, handler)


@contextlib.contextmanager
def _exit_on_second() -> Iterator[None]:
  """Ends the process at the second signal, even while XLA compiles.

  Python runs its handlers only once the main thread returns from C++, but
  writes each signal's number to this pipe at once.
  """
  reading, writing = os.pipe()
  os.set_blocking(writing, False)
  previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
  watcher = threading.Thread(target=_watch, args=(reading,), daemon=True)
  watcher.start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(previous)
    os.close(writing)  # ends the watcher
    watcher.join()
    os.close(reading)


def _watch(reading: int) -> None:
  count = 0
  while signum := os.read(reading, 1):
    count += signum[0] in _SIGNALS
    if count > 1:
      os.write(2, b'\ninterrupted\n')
      os._exit(exit_code(signum[0]))


def sync_stop_signal() -> Callable[[int], int]:
  """Returns a function: this process's signal -> the common signal, or 0.

  All processes must call it once after each step. It returns the largest signal
  of all processes at the previous call, so that no process waits for another.
  """
  if jax.process_count() == 1:
    return lambda signum: signum
  pending = []

  def sync(signum: int) -> int:
    pending.append(parallel.all_reduce_max(signum))
    return int(parallel.unreplicate(pending.pop(0))) if len(pending) > 1 else 0

  return sync


def exit_code(signum: int) -> int:
  """Returns the exit code of a run that a signal stopped."""
  return INTERRUPTED if signum == signal.SIGINT else TERMINATED

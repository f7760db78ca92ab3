"""What worker processes of this room have in common."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker


def obey_parent() -> None:
  """Readies a worker process: Ctrl-C and its end are the parent's to decide.

  The worker ignores Ctrl-C, which a terminal sends to all processes, and ends
  with its parent, even a killed one, where the system can do that (Linux).
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  if sys.platform.startswith('linux'):
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
  # A parent that was killed before that sends nothing any more.
  parent = multiprocessing.parent_process()
  if parent is not None and parent.pid != os.getppid():
    os._exit(1)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
  """Holds Ctrl-C back while workers start; it comes when they have.

  The workers inherit that it is blocked, so that it does not end them in their
  imports, before `obey_parent` is called. This process may still get it, in a
  thread of some library, and notes it for later: a worker that has begun must
  be told what to do.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  # It is started with the first worker, and then lets Ctrl-C through again.
  resource_tracker.ensure_running()
  came = []
  handler = signal.signal(signal.SIGINT, lambda *which: came.append(which))
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, handler)
    if came and callable(handler):
      handler(*came[0])

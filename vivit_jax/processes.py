"""Worker processes: pools that end with their parent, held signals."""

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from vivit_jax.errors import UserError

CONTEXT = multiprocessing.get_context('spawn')


def end_with_parent(signum: int) -> None:
  """Lets this process get a signal when its parent ends, even a killed one.

  Where the system can do that: Linux. A parent that has ended sends nothing.
  """
  if sys.platform.startswith('linux'):
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signum)


def obey_parent() -> None:
  """Readies a worker process: Ctrl-C and its end are the parent's to decide.

  The worker ignores Ctrl-C, which a terminal sends to all processes, and ends
  with its parent, even a killed one, where the system can do that (Linux).
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  end_with_parent(signal.SIGKILL)
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
  be told what to do. A process that ignores Ctrl-C, as those that a script
  begins with `&` do, ignores it here too.
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


@contextlib.contextmanager
def pool(
  workers: int,
  ended: str,
  begin: Callable[..., None] = obey_parent,
  arguments: tuple[Any, ...] = (),
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
  """Gives a pool of processes, which an error here ends at once.

  Args:
    workers: how many.
    ended: the sentence for a process that something else has ended.
    begin: what each calls first, with `arguments`; it calls `obey_parent`.

  Raises:
    UserError: that sentence.
  """
  executor = concurrent.futures.ProcessPoolExecutor(
    workers, CONTEXT, begin, arguments
  )
  others = set(multiprocessing.active_children())
  try:
    yield executor
  except BrokenProcessPool:
    raise UserError(ended) from None
  except BaseException:
    for worker in set(multiprocessing.active_children()) - others:
      worker.terminate()  # what it is at may take minutes
    raise
  finally:
    executor.shutdown(cancel_futures=True)

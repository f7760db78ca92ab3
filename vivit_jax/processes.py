"""Worker processes: pools that end with their parent, and deferred Ctrl-C."""

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
  """Makes the kernel signal this process when its parent ends (Linux).

  That works after any end of the parent, SIGKILL included; a parent that has
  ended before sends nothing.
  """
  if sys.platform.startswith('linux'):
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signum)


def init_worker() -> None:
  """Initialises a worker process: it ignores Ctrl-C and ends with its parent.

  A terminal sends Ctrl-C to all processes; the parent decides what it means.
  Workers of a killed parent end on Linux only.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  end_with_parent(signal.SIGKILL)
  parent = multiprocessing.parent_process()
  if parent is not None and parent.pid != os.getppid():
    os._exit(1)  # the parent was killed before the line above


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
  """Defers Ctrl-C while workers start, and raises it afterwards.

  Workers inherit the blocked signal, so that it cannot end them during their
  imports, before `init_worker`. A library's thread may still receive it in this
  process: it is noted, for a worker that has started must get its arguments. A
  process that ignores Ctrl-C, as one started with `&` in a script, goes on
  ignoring it.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  # It starts with the first worker, and would unblock Ctrl-C.
  resource_tracker.ensure_running()
  received = []
  handler = signal.signal(signal.SIGINT, lambda *which: received.append(which))
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, handler)
    if received and callable(handler):
      handler(*received[0])


@contextlib.contextmanager
def pool(
  workers: int,
  ended: str,
  begin: Callable[..., None] = init_worker,
  arguments: tuple[Any, ...] = (),
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
  """Yields a pool of processes, which are terminated after an error here.

  Args:
    workers: number of processes.
    ended: the error's sentence if something else ends a worker.
    begin: initialiser of each worker; it must call `init_worker`.
    arguments: of `begin`.

  Raises:
    UserError: a worker was ended, by the system for example.
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
      worker.terminate()  # its task may take minutes
    raise
  finally:
    executor.shutdown(cancel_futures=True)

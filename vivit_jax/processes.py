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

  This works however the parent ends, even by SIGKILL, but not if it has ended
  before the call.
  """
  if sys.platform.startswith('linux'):
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signum)


def init_worker() -> None:
  """Initialises a worker process: it ignores Ctrl-C and ends with its parent.

  A terminal sends Ctrl-C to all processes; only the parent handles it. Workers
  of a killed parent end on Linux only.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  end_with_parent(signal.SIGKILL)
  parent = multiprocessing.parent_process()
  if parent is not None and parent.pid != os.getppid():
    os._exit(1)  # the parent was killed before the line above


@contextlib.contextmanager
def defer_sigint() -> Iterator[None]:
  """Defers Ctrl-C while workers start, and handles it afterwards.

  The signal is blocked, and workers inherit this: it cannot end them during
  their imports, before `init_worker`. A library's thread in this process may
  still receive it. It is then recorded: an exception here would leave a started
  worker without its arguments. A process that ignores Ctrl-C (started with `&`
  in a script) continues to ignore it.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  # Otherwise the tracker starts with the first worker and unblocks Ctrl-C.
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
  """Yields a pool of processes; an error in the block terminates them.

  Args:
    workers: number of processes.
    ended: error message if a worker is killed from outside.
    begin: initialiser of each worker; it must call `init_worker`.
    arguments: arguments of `begin`.

  Raises:
    UserError: a worker was killed, for example by the system.
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

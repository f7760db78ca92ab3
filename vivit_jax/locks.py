"""One process at a time in a folder."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator

from vivit_jax.errors import UserError

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None

_LOOK = 0.2  # seconds; far longer than `is_locked` takes


@contextlib.contextmanager
def locked(folder: pathlib.Path, in_use: str) -> Iterator[None]:
  """Keeps other processes out of a folder, as long as they ask here too.

  The lock ends with the process, however that ends.

  Args:
    folder: exists.
    in_use: the sentence for a folder that another process has locked.

  Raises:
    UserError: that sentence.
  """
  if fcntl is None:
    yield
    return
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    if not _lock(descriptor):
      time.sleep(_LOOK)  # another may have been looking alone
      if not _lock(descriptor):
        raise UserError(in_use)
    yield
  finally:
    os.close(descriptor)


def is_locked(folder: pathlib.Path) -> bool:
  """Returns whether another process has locked a folder."""
  if fcntl is None or not folder.is_dir():
    return False
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    return not _lock(descriptor)
  finally:
    os.close(descriptor)


def _lock(descriptor: int) -> bool:
  """Returns False if another process has the lock."""
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    pass  # some network file systems lock nothing
  return True

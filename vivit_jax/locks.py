"""A lock on a folder, held by one process at a time."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import filelock

from vivit_jax.errors import UserError


@contextlib.contextmanager
def locked(folder: pathlib.Path, in_use: str) -> Iterator[None]:
  """Locks an existing folder until the block or the process ends.

  The lock is on the folder itself, so no file is left in it. On network file
  systems without locks, nothing is checked.

  Args:
    folder: the folder to lock.
    in_use: error message if another process holds the lock.

  Raises:
    UserError: another process holds the lock.
  """
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      acquired = filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
      acquired = True  # not supported here
    if not acquired:
      raise UserError(in_use)
    yield
  finally:
    os.close(descriptor)

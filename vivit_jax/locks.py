"""A lock on a folder, held by one process at a time."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import filelock

from vivit_jax.errors import UserError


@contextlib.contextmanager
def locked(folder: pathlib.Path, in_use: str) -> Iterator[None]:
  """Locks a folder that exists; the lock ends with the process at the latest.

  The folder itself is locked: no lock file is left in it. Some network file
  systems have no locks; there, nothing is checked.

  Args:
    folder: the folder to lock.
    in_use: the error's sentence if another process holds the lock.

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

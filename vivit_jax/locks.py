"""One process at a time in a folder."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from vivit_jax.errors import UserError

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None


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
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(in_use) from None
    except OSError:
      pass  # some network file systems lock nothing
    yield
  finally:
    os.close(descriptor)

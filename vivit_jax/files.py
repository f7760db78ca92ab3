"""Atomic file writes, and a stamp to detect that a file has changed."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path, which is renamed to `path` at the end.

  The temporary file is in the same folder, unique to this process, and ends in
  `.part`. After an error it is removed, and `path` is unchanged.

  Raises:
    OSError: the file cannot be renamed.
  """
  path = pathlib.Path(path)
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}.part')
  try:
    yield unfinished
    os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


def stamp(path: str | os.PathLike) -> tuple[int, int] | None:
  """Returns a file's size and modification time; None if it is missing."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):  # ValueError: not a valid name
    return None
  return status.st_size, status.st_mtime_ns

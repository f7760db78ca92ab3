"""Files that appear whole or not at all, and whether one has changed."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives a temporary path, which takes the name of `path` at the end.

  It lies beside `path`, is this process's own, and ends in `.part`. After an
  error it is removed, and what was at `path` is still there.

  Raises:
    OSError: the file cannot take that name.
  """
  path = pathlib.Path(path)
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}.part')
  try:
    yield unfinished
    os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


def stamp(path: str | os.PathLike) -> tuple[int, int] | None:
  """Returns what changes when a file does; None for a missing one."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):  # or a name that no file can have
    return None
  return status.st_size, status.st_mtime_ns

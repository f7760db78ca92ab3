"""Atomic file writes, stamps that detect changed files, and absolute paths."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from vivit_jax.errors import UserError


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


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path, renamed to `path` at the end; creates its folder.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
      yield unfinished
  except OSError as error:
    raise UserError(
      f'cannot write {path}: {error.strerror or error}.'
    ) from None


def stamp(path: str | os.PathLike) -> tuple[int, int] | None:
  """Returns a file's size and modification time; None if it is missing."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):  # ValueError: not a valid name
    return None
  return status.st_size, status.st_mtime_ns


def on_hub(path: str | os.PathLike) -> bool:
  """Returns whether a path is a name on the Hugging Face Hub, hf://..."""
  return os.fspath(path).startswith('hf://')


def check_local(path: str | os.PathLike) -> None:
  """Raises a UserError if a path to write to is a name of the Hub or a URL."""
  # pathlib joins the slashes.
  name = re.sub('^(hf|https?):/+', r'\1://', os.fspath(path))
  if name.startswith(('hf://', 'http://', 'https://')):
    raise UserError(
      f'{name} is not on this machine, so it can only be read: give a local '
      'path.'
    )


def absolute(path: str | os.PathLike) -> str:
  """Returns the absolute path; a name on the Hub is returned unchanged."""
  return os.fspath(path) if on_hub(path) else os.path.abspath(path)

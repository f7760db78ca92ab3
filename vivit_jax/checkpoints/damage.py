"""Damaged checkpoints: their errors, and the newest undamaged one."""

import contextlib
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vivit_jax.errors import UserError


class Damaged(UserError):
  """A checkpoint that cannot be read, or is not what was saved."""

  def __init__(self, folder: pathlib.Path, step: int, reason: str):
    self.what = f'checkpoint {step} in {folder} is damaged ({reason})'
    super().__init__(f'{self.what}: choose another step.')


@contextlib.contextmanager
def reading(folder: pathlib.Path, step: int) -> Iterator[None]:
  """Converts the many exceptions of Orbax and its storage to `Damaged`."""
  try:
    yield
  except (UserError, MemoryError):
    raise
  except Exception as error:
    reason = system_reason(error) or 'files are missing, cut off or changed'
    raise Damaged(folder, step, reason) from None


def system_reason(error: Exception) -> str:
  """Returns the operating system's message for an error, or ''."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  code = re.search(r"os_error_code='(\d+)|OS error (\d+)", str(error))
  return os.strerror(int(code[1] or code[2])) if code else ''


def newest(
  folder: pathlib.Path, steps: Iterable[int], read: Callable[[int], Any]
) -> tuple[Any, dict[int, Damaged]]:
  """Reads the newest undamaged checkpoint.

  `read` reads one step, or raises `Damaged`.

  Returns:
    Its output (None without checkpoints), and the errors of newer steps.

  Raises:
    UserError: all steps are damaged.
  """
  damaged = {}
  for step in sorted(steps, reverse=True):
    try:
      return read(step), damaged
    except Damaged as error:
      damaged[step] = error
  if damaged:
    raise all_damaged(folder, damaged)
  return None, {}


def all_damaged(folder: pathlib.Path, steps: Iterable[int]) -> UserError:
  listed = ', '.join(map(str, sorted(steps)))
  return UserError(
    f'all checkpoints in {folder} are damaged (steps {listed}): move the '
    'folder away to start over, or restore a copy.'
  )

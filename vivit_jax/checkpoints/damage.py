"""Checkpoints that cannot be read: found, named and set aside."""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from vivit_jax.errors import UserError


class Damaged(UserError):
  """A checkpoint that cannot be read.

  Args:
    which: its step and folder.
    reason: what its storage says.
  """

  def __init__(self, which: str, reason: str):
    super().__init__(
      f'{which} is damaged ({reason}): name another one. Where it is the '
      'newest, train.py sets it aside, and goes on from the one before.'
    )
    self.which, self.reason = which, reason


def newest(
  folder: pathlib.Path, steps: Iterable[int], read: Callable[[int], Any]
) -> tuple[Any, dict[int, Damaged]]:
  """Returns what the newest step gives that is not damaged, or None.

  And the errors of newer steps, which are.
  """
  damaged = {}
  for step in sorted(steps, reverse=True):
    try:
      return read(step), damaged
    except Damaged as error:
      damaged[step] = error
  check_some_whole(folder, damaged, damaged)
  return None, damaged


def check_some_whole(
  folder: pathlib.Path, damaged: Collection[int], steps: Collection[int]
) -> None:
  """Raises a UserError where all steps, if any, are damaged."""
  if damaged and len(damaged) == len(steps):
    listed = ', '.join(str(step) for step in sorted(damaged))
    raise UserError(
      f'all checkpoints in {folder} are damaged (steps {listed}): move the '
      'folder away to begin anew, or copy a whole one there.'
    )


@contextlib.contextmanager
def reading(folder: pathlib.Path, step: int) -> Iterator[None]:
  """Turns what Orbax and its storage raise, which are many, into Damaged."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    which = f'checkpoint {step} in {folder}'
    raise Damaged(which, reason_of(error)) from None


def aside(folder: pathlib.Path, step: int) -> pathlib.Path:
  """Returns the first free name to keep a damaged checkpoint by."""
  name = folder / f'{step}.damaged'
  again = 1
  while name.exists():
    again += 1
    name = folder / f'{step}.damaged.{again}'
  return name


def reason_of(error: Exception) -> str:
  """Returns what an error says of its cause, in a few words."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  text = str(error)
  system = re.search(r"os_error_code='(\d+)|OS error (\d+)", text)
  if system:
    return os.strerror(int(system[1] or system[2]))
  if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
    return 'a JSON in it is cut off or changed'
  # What code says of files that it finds otherwise than it wrote them.
  if isinstance(error, LookupError | TypeError | AttributeError):
    return 'a part of it is missing or changed'
  # TensorStore's sentences are of places in its own code.
  if text.startswith('Encountered error while reading array'):
    return 'its arrays cannot be read'
  if text.startswith('NOT_FOUND: '):
    return 'files of its arrays are missing'
  if text.startswith(
    ('DATA_LOSS: ', 'OUT_OF_RANGE: ', 'FAILED_PRECONDITION: ')
  ):
    return 'its arrays are cut off or changed'
  return re.split(r' \[|\n|\. ', text)[0][:200] or repr(error)

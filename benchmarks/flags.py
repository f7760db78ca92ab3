"""What the flags of the benchmarks may be: types for argparse, and a folder."""

import argparse
import math
import os
import pathlib
import tempfile
from collections.abc import Callable

from vivit_jax.errors import UserError


def at_least(least: int) -> Callable[[str], int]:
  """Returns the type of a flag that is a whole number of at least that."""

  def parse(text: str) -> int:
    try:
      value = int(text)
    except ValueError:
      raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
    if value < least:
      raise argparse.ArgumentTypeError(f'{value} is less than {least}')
    return value

  return parse


def positive(text: str) -> float:
  """Reads a flag that is a finite number above 0."""
  try:
    value = float(text)
  except ValueError:
    raise argparse.ArgumentTypeError(f"'{text}' is no number") from None
  if not 0 < value < math.inf:
    raise argparse.ArgumentTypeError(f'{text} is no finite number above 0')
  return value


def make_folder(flag: str, path: str | os.PathLike) -> None:
  """Makes a flag's folder where there is none, and tries to write into it.

  Permissions alone do not say it: to root all of /proc seems writable.

  Raises:
    UserError: it cannot be made or written.
  """
  try:
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
      pass
  except OSError as error:
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):
      reason = 'it is a file'
    raise UserError(
      f'{flag}: nothing can be written to {path} ({reason}); name another '
      'folder.'
    ) from None

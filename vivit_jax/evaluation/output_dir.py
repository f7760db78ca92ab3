"""Checks and locks the output folder of an evaluation."""

import contextlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

from vivit_jax import distributed, files, locks
from vivit_jax.errors import UserError

STAGING, UNFINISHED = '.report-', '.unfinished-'  # prefixes of subfolders
# metrics.json is ours if it has a protocol.
_OURS = re.compile(r'predictions\.(npz|csv)|report\.html|scores\.csv')


class UnwritableOutput(UserError):
  """An output folder that cannot be written."""

  def __init__(self, folder: str | os.PathLike, error: OSError):
    super().__init__(
      f'the report cannot be written to {folder} ({error.strerror or error}): '
      'choose another folder with --out.'
    )


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Iterator[None]:
  """Creates the folder and locks it against other evaluations.

  Raises:
    UnwritableOutput: the folder cannot be created or written.
    UserError: the folder holds files of other programs, or another process is
      evaluating into it.
  """
  files.check_local(folder)
  check_empty_or_ours(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b'.')
  except OSError as error:
    raise UnwritableOutput(folder, error) from None
  in_use = (
    f'another process is evaluating into {folder}: wait until it ends, or '
    'choose another folder with --out.'
  )
  lock = contextlib.nullcontext()
  if distributed.first():
    lock = locks.locked(folder, in_use)
  with lock:
    yield


def check_empty_or_ours(folder: pathlib.Path) -> None:
  """Raises a UserError if the folder holds files of other programs."""
  if _has_results(folder):
    return
  for path in folder.rglob('*'):
    name = path.relative_to(folder)
    if not (
      path.is_dir()
      or any(part.startswith('.') for part in name.parts)
      or _OURS.fullmatch(path.name)
      or _has_results(path.parent)
    ):
      raise UserError(
        f'{folder} holds {name}, which no evaluation wrote: choose a new or an '
        'empty folder with --out.'
      )


def _has_results(folder: pathlib.Path) -> bool:
  """Returns whether the folder holds metrics.json of an evaluation."""
  try:
    results = json.loads((folder / 'metrics.json').read_text('utf-8'))
    return isinstance(results, dict) and 'protocol' in results
  except (OSError, ValueError):
    return False

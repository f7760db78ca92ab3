"""Places that are to be written to, checked before any work is done."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from vivit_jax.errors import UserError

FEATURES = '.npz'
PICTURES = ('.png', '.gif')  # of --explain, after a video's name
TIMELINE = '.timeline.png'


def check_features(
  path: str | os.PathLike, videos: Sequence[pathlib.Path]
) -> None:
  """Raises a UserError where a file of features cannot or must not be.

  Args:
    path: of the file.
    videos: that are read, and must not be written over.
  """
  path = pathlib.Path(path)
  _check_no_video(path, videos)
  if path.suffix != FEATURES:
    raise UserError(
      f'--features={path} does not end in {FEATURES}: name the file that the '
      f'features are written to, e.g. features{FEATURES}.'
    )
  if os.path.isdir(path):
    raise UserError(f'cannot write {path}: it is a folder.')
  if not os.access(path.parent, os.W_OK) or not os.path.isdir(path.parent):
    raise UserError(
      f'cannot write {path}: {path.parent} is no folder, or not yours to write '
      'to.'
    )


def check_pictures(
  folder: str | os.PathLike,
  names: Iterable[str],
  endings: Sequence[str],
  videos: Sequence[pathlib.Path],
) -> None:
  """Raises a UserError where pictures would be written over a video.

  Args:
    folder: of the pictures.
    names: of the pictures, without their endings.
    endings: of each name's pictures.
    videos: that are read.
  """
  here = _files(videos)
  for name in names:
    for ending in endings:
      _check_no_video(pathlib.Path(folder, name + ending), videos, here)


def made(folder: str | os.PathLike | None) -> pathlib.Path | None:
  """Makes a folder, and returns it.

  Raises:
    UserError: it cannot be made, or written to.
  """
  if folder is None:
    return None
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'cannot make the folder {folder}: {error.strerror}.'
    ) from None
  if not os.access(folder, os.W_OK | os.X_OK):
    raise UserError(f'the folder {folder} is not yours to write to.')
  return folder


def _check_no_video(
  path: pathlib.Path,
  videos: Sequence[pathlib.Path],
  files: set[tuple[int, int]] | None = None,
) -> None:
  files = _files(videos) if files is None else files
  if _files([path]) & files:
    raise UserError(
      f'{path} is one of the videos, and would be written over: give another '
      'place.'
    )


def _files(paths: Iterable[pathlib.Path]) -> set[tuple[int, int]]:
  """Returns what tells files apart, however their paths are spelled."""
  found = set()
  for path in paths:
    try:
      status = os.stat(path)
    except (OSError, ValueError):
      continue
    found.add((status.st_dev, status.st_ino))
  return found

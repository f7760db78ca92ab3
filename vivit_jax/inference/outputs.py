"""The files that predictions are written to: names and checks."""

import collections
import os
import pathlib
from collections.abc import Sequence

from vivit_jax import files
from vivit_jax.errors import UserError


def names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns a unique file name, without suffix, for the outputs of each video.

  It is the video's stem, or its whole path if several videos share the stem.
  """
  stems = collections.Counter(path.stem.casefold() for path in paths)
  names: dict[str, str] = {}
  for path in paths:
    name = path.stem
    if stems[name.casefold()] > 1:
      name = '_'.join(x for x in path.parts if x not in ('/', '..', '.'))
    while name.casefold() in names:
      name += '_'
    names[name.casefold()] = name
  return list(names.values())


def check(
  outputs: Sequence[pathlib.Path], videos: Sequence[pathlib.Path]
) -> None:
  """Raises a UserError if an output is unwritable or would replace a video."""
  real = {os.path.realpath(path) for path in videos}
  for path in outputs:
    files.check_local(path)
    if os.path.realpath(path) in real:
      raise UserError(f'{path} would overwrite a video: choose another folder.')
    if os.path.isdir(path):
      raise UserError(f'{path} is a folder: choose another name.')
  for folder in {path.parent for path in outputs}:
    while not os.path.lexists(folder):  # missing folders will be created
      folder = folder.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
      raise UserError(f'{folder} is not a folder that you can write to.')

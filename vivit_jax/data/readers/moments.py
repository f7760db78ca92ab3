"""Moments in Time."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

# The owners' files, and the folder that their paths begin in.
_SPLITS = {
  'train': ('trainingSet.csv', 'training'),
  'validation': ('validationSet.csv', 'validation'),
}
_CATEGORIES = 'moments_categories.txt'


def read(path: str | os.PathLike) -> Annotated:
  """Reads trainingSet.csv and validationSet.csv.

  They have no header, and lines of path, label and votes. A path begins in
  the folder `training` or `validation` of the videos, or in that of the videos
  itself. Labels are numbered as in `moments_categories.txt` (`label,number`),
  where that is beside.

  Args:
    path: the folder of these files, or one of them.

  Raises:
    UserError: files or lines that do not do.
  """
  path = pathlib.Path(path)
  folder = path if path.is_dir() else path.parent
  splits = {}
  collector = tables.Collector(splits)
  for split, (name, videos) in _SPLITS.items():
    file = folder / name
    if not file.exists() or (path != folder and path != file):
      continue
    for number, cells in tables.lines(file):
      where = f'{file} line {number}'
      if len(cells) < 2 or not cells[0] or not cells[1]:
        raise UserError(f'{where} does not begin with a path and a label.')
      video, label = cells[:2]
      collector.add(
        split,
        Example(f'{videos}/{video}', video, {'label': label}, (video,)),
        where,
      )
  if not splits:
    raise UserError(
      f'{path} has no lines of trainingSet.csv or validationSet.csv: give the '
      'folder of these files as --annotations.'
    )
  return Annotated(splits, _label_names(folder / _CATEGORIES))


def _label_names(file: pathlib.Path) -> dict[str, list[str]]:
  if not file.exists():
    return {}
  numbers = {}
  for number, cells in tables.lines(file):
    if len(cells) != 2 or not cells[1].isdecimal() or cells[0] in numbers:
      raise UserError(
        f"{file} line {number} is no new label with its number: 'label,7'."
      )
    numbers[cells[0]] = int(cells[1])
  if sorted(numbers.values()) != list(range(len(numbers))):
    raise UserError(
      f'{file} does not number its {len(numbers)} labels from 0, each once.'
    )
  return {'label': sorted(numbers, key=numbers.get)}

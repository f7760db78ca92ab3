"""Moments in Time."""

import os
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables, text
from vivit_jax.errors import UserError

# Split -> the owners' CSV file, and the subfolder of its videos.
_SPLITS = {
  'train': ('trainingSet.csv', 'training'),
  'validation': ('validationSet.csv', 'validation'),
}
_CATEGORIES = 'moments_categories.txt'


def read(path: str | os.PathLike) -> Annotated:
  """Reads trainingSet.csv and validationSet.csv.

  The files have no header; a line is path, label, votes. A path is relative to
  the folder of videos, or to its subfolder `training` or `validation`. Labels
  are numbered as in `moments_categories.txt` (`label,number`) if that file is
  beside the CSV files.

  Args:
    path: the folder of these files.

  Raises:
    UserError: invalid files or lines.
  """
  folder = pathlib.Path(path)
  collector = tables.Collector()
  for split, (name, videos) in _SPLITS.items():
    file = folder / name
    if not file.exists():
      continue
    for where, cells in text.lines(file, ','):
      if len(cells) < 2 or not cells[0] or not cells[1]:
        raise UserError(f'{where} must begin with a path and a label.')
      video, label = cells[:2]
      labels = {'label': label}
      example = Example(f'{videos}/{video}', video, labels, (video,))
      collector.add(split, example, where)
  if not collector.splits:
    raise UserError(
      f'{path} has no lines in trainingSet.csv or validationSet.csv: give the '
      'folder of these files as --annotations.'
    )
  return Annotated(collector.splits, _label_names(folder / _CATEGORIES))


def _label_names(file: pathlib.Path) -> dict[str, list[str]]:
  if not file.exists():
    return {}
  numbers = {}
  for where, cells in text.lines(file, ','):
    if len(cells) != 2 or not cells[1].isdecimal() or cells[0] in numbers:
      raise UserError(
        f"{where} must be a new label with its number: 'label,7'."
      )
    numbers[cells[0]] = int(cells[1])
  return {'label': tables.in_order(numbers, file)}

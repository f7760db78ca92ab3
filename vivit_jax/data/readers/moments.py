"""Moments in Time."""

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


def read(folder: pathlib.Path) -> Annotated:
  """Reads trainingSet.csv and validationSet.csv in a folder.

  The files have no header; a line is path, label, votes. A path is relative to
  the folder of videos, or to its subfolder `training` or `validation`. Labels
  are numbered as in `moments_categories.txt` (`label,number`) if that file is
  beside the CSV files.
  """
  collector = tables.Collector()
  for split, (name, videos) in _SPLITS.items():
    if not (folder / name).exists():
      continue
    for where, cells in text.lines(folder / name, ','):
      if len(cells) < 2 or not cells[0] or not cells[1]:
        raise UserError(f'{where} must begin with a path and a label.')
      video, label = cells[:2]
      labels = {'label': label}
      example = Example(f'{videos}/{video}', video, labels, (video,))
      collector.add(split, example, where)
  if not collector.splits:
    raise UserError(
      f'{folder} has no lines in trainingSet.csv or validationSet.csv: give '
      'the folder of these files as --annotations.'
    )
  file = folder / _CATEGORIES
  if not file.exists():
    return Annotated(collector.splits)
  numbers = []
  for where, cells in text.lines(file, ','):
    if len(cells) != 2:
      raise UserError(f"{where} must be a label with its number: 'label,7'.")
    numbers.append((cells[0], tables.whole(cells[1], where)))
  return Annotated(collector.splits, {'label': tables.in_order(numbers, file)})

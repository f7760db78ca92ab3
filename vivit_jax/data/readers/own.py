"""Annotations for a user's own videos: a CSV file in this package's format."""

import os
import pathlib
import re

from vivit_jax.data.annotations import Annotated, Example, Label
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_MULTI_LABEL = '[]'  # suffix in the header of a multi-label column
_SEPARATOR = ';'  # between labels


def read(path: str | os.PathLike) -> Annotated:
  """Reads a CSV file of paths and labels.

  Args:
    path: a CSV file with a header, or a folder with train.csv, validation.csv
      or test.csv. The column `path` has a video or a folder of frames; `split`
      is optional; every other column is a head of the model. If its header ends
      in '[]', a cell has any number of labels, separated by ';'.

  Raises:
    UserError: invalid files, columns, cells or names.
  """

  def example(_: str, where: str, cells: tables.Cells) -> Example:
    for column, cell in cells.items():
      if not cell and not column.endswith(_MULTI_LABEL):
        raise UserError(f"{where} has no value in column '{column}'.")
    video = str(pathlib.PurePosixPath(cells['path']))  # './a' is 'a'
    labels = {
      column.removesuffix(_MULTI_LABEL): _label(column, cell)
      for column, cell in cells.items()
      if column not in ('path', 'split')
    }
    return Example(video, video, labels)

  files = tables.split_files(pathlib.Path(path))
  for file in files.values():
    _check_heads(file)
  return Annotated(
    tables.read_splits(files, ('path',), example, split_name=str)
  )


def _label(column: str, cell: str) -> Label:
  if not column.endswith(_MULTI_LABEL):
    return cell
  names = (name.strip() for name in cell.split(_SEPARATOR))
  return tuple(dict.fromkeys(name for name in names if name))


def _check_heads(file: pathlib.Path) -> None:
  """Raises a UserError if a head's name is missing, invalid or repeated."""
  header = tables.header(file)
  columns = set(header) - {'path', 'split'}
  if 'path' not in header:
    return  # `tables.rows` refuses it
  if not columns:
    raise UserError(
      f"{file} has no column of labels: add one, for instance 'label'."
    )
  for column in sorted(columns):
    head = column.removesuffix(_MULTI_LABEL)
    # Metrics and the report's files are named after heads.
    if not re.fullmatch(r'[\w-]+', head) or head == 'joint':
      raise UserError(
        f"{file} has the column '{column}', which becomes a head of the model: "
        "use letters, digits, '_' and '-', and not the name 'joint'."
      )
    if column != head and head in columns:
      raise UserError(
        f"{file} has columns '{head}' and '{column}': rename one."
      )

"""Annotations for a user's own videos: a CSV file in this package's format."""

import os
import pathlib
import re

from vivit_jax.data.annotations import Annotated, Example, Label
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_MULTI_LABEL = '[]'  # suffix in the header of a multi-label column
_SEPARATOR = ';'  # between labels


def read(path: str | os.PathLike, default_split: str = 'train') -> Annotated:
  """Reads a CSV file of paths and labels.

  Args:
    path: a CSV file with a header, or a folder with train.csv, validation.csv
      or test.csv. The column `path` has a video or a folder of frames; `split`
      is optional; every other column is a head of the model. If its header ends
      in '[]', a cell has any number of labels, separated by ';'.
    default_split: for a single file without the column `split`.

  Raises:
    UserError: invalid files, columns, cells or names.
  """

  def example(split: str, row: tables.Row) -> Example:
    del split
    video = str(pathlib.PurePosixPath(row.cells['path']))  # './a' is 'a'
    labels = {
      column.removesuffix(_MULTI_LABEL): _label(column, cell)
      for column, cell in row.cells.items()
      if column not in ('path', 'split')
    }
    return Example(video, video, labels)

  files = tables.split_files(pathlib.Path(path), default_split)
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
  header = tables.header(file)
  heads = [
    column.removesuffix(_MULTI_LABEL)
    for column in header
    if column not in ('', 'path', 'split')
  ]
  if 'path' in header and not heads:
    raise UserError(
      f"{file} has no column of labels: add one, for instance 'label'."
    )
  for head in heads if 'path' in header else ():
    # Metrics and the report's files are named after heads.
    if not re.fullmatch(r'[\w-]+', head) or head == 'joint':
      raise UserError(
        f"{file} has the column '{head}', which becomes a head of the model: "
        "use letters, digits, '_' and '-', and not the name 'joint'."
      )
    if heads.count(head) > 1:
      raise UserError(
        f"{file} has the columns '{','.join(header)}': rename the duplicate."
      )

"""This package's own annotations, of any folder of videos."""

import os
import pathlib
import re

from vivit_jax.data.annotations import Annotated, Example, Label
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_MANY = '[]'  # ends the header of a column with many labels a video
_BETWEEN = ';'  # them


def read(path: str | os.PathLike, default_split: str = 'train') -> Annotated:
  """Reads a CSV file of paths and labels.

  Args:
    path: a CSV file with a header: `path` is the video's (or a folder of
      frames), `split` (may be left out) the split's name, and every other
      column one head of labels. A column whose header ends in '[]' has any
      number of labels, with ';' between them. Or a folder that holds any of
      train.csv, validation.csv and test.csv.
    default_split: of a file without `split`; in a folder, its files' names.

  Raises:
    UserError: files, columns, cells or names that do not do; it names the
      file and, where there is one, the line.
  """

  def example(split: str, row: tables.Row) -> Example:
    del split
    video = str(pathlib.PurePosixPath(row.cells['path']))  # './a' is 'a'
    labels = {
      column.removesuffix(_MANY): _label(column, cell)
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
  if not column.endswith(_MANY):
    return cell
  names = (name.strip() for name in cell.split(_BETWEEN))
  return tuple(dict.fromkeys(name for name in names if name))


def _check_heads(file: pathlib.Path) -> None:
  header = tables.header(file)
  heads = [
    column.removesuffix(_MANY)
    for column in header
    if column not in ('', 'path', 'split')
  ]
  if 'path' in header and not heads:
    raise UserError(
      f'{file} has no column of labels beside path and split: add one, for '
      "instance 'label'."
    )
  for head in heads if 'path' in header else ():
    # A head's name becomes a name of metrics, and of the report's files.
    if not re.fullmatch(r'[\w-]+', head) or head == 'joint':
      raise UserError(
        f"{file} has the column '{head}', which is to be a head of the model: "
        "its name has letters, digits, '_' and '-', and is not 'joint'."
      )
    if heads.count(head) > 1:
      raise UserError(
        f"{file} has the columns '{','.join(header)}': each needs a name of "
        'its own.'
      )

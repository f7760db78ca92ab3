"""Kinetics-400, 600 and 700."""

import functools
import os
import pathlib
from collections.abc import Sequence

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError


def read(
  path: str | os.PathLike,
  heads: Sequence[str] = ('label',),
  default_split: str = 'train',
) -> Annotated:
  """Reads annotations in Kinetics' layout.

  A video's file is `<youtube_id>_<start:06d>_<end:06d>.mp4`; it lies in the
  folder of videos, or in one of its label there (with spaces or underscores),
  or in either in a folder of its split. A test split without labels is left
  out.

  Args:
    path: a CSV file with the columns youtube_id, time_start, time_end
      (seconds), split and those of `heads`; or a folder of train.csv,
      validate.csv (or val.csv, validation.csv) and test.csv.
    heads: columns of labels.
    default_split: of a file without `split`.

  Raises:
    UserError: files, columns, cells or names that do not do.
  """
  files = tables.split_files(pathlib.Path(path), default_split)
  without = [file for file in files.values() if _is_unlabelled(file, heads)]
  unlabelled = sum(len(list(tables.rows(file, (), ()))) for file in without)
  files = {s: file for s, file in files.items() if file not in without}

  def example(split: str, row: tables.Row) -> Example | None:
    nonlocal unlabelled
    labels = {head: row.cells[head] for head in heads}
    if split == 'test' and not any(labels.values()):
      unlabelled += 1
      return None
    for head, label in labels.items():
      if not label:
        raise UserError(f"{row.where} has no value in column '{head}'.")
    name = _name(row)
    folders = _folders(split, row.cells.get('label', ''))
    return Example(f'{name}.mp4', name, labels, elsewhere=folders)

  columns = ('youtube_id', 'time_start', 'time_end')
  splits = tables.read_splits(files, (*columns, *heads), example, columns)
  if not splits:
    raise UserError(
      f"{path} has no labels: it is of a test split, and the owners' files "
      'with labels are those of train and validation.'
    )
  notes = ()
  if unlabelled:
    notes = (
      f'the {unlabelled} videos of the test split have no labels, and are left '
      'out',
    )
  return Annotated(splits, notes=notes)


def _is_unlabelled(file: pathlib.Path, heads: Sequence[str]) -> bool:
  """Returns whether a file is the owners' list of unlabelled test videos."""
  header = tables.header(file)
  if not {'youtube_id', 'time_start', 'time_end'} <= set(header):
    return False
  if set(heads) & set(header):
    return False
  of_rows = {row.cells.get('split') for row in tables.rows(file, (), ())}
  named = tables.split_of(file.stem.replace('-', '_').rpartition('_')[2])
  return of_rows == {'test'} or (of_rows <= {None, ''} and named == 'test')


def _name(row: tables.Row) -> str:
  try:
    start, end = (
      int(float(row.cells[f'time_{which}'])) for which in ('start', 'end')
    )
  except (ValueError, OverflowError):
    raise UserError(
      f'{row.where} has a time_start or time_end that is no number of seconds.'
    ) from None
  if not 0 <= start < end:
    raise UserError(
      f'{row.where} goes from second {start} to {end}: an end is after a start.'
    )
  if '/' in row.cells['youtube_id']:
    raise UserError(f'{row.where} has a youtube_id with a / in it.')
  return f'{row.cells["youtube_id"]}_{start:06d}_{end:06d}'


@functools.cache  # one tuple a label, and not one a video
def _folders(split: str, label: str) -> tuple[str, ...]:
  label = label.replace('/', '_')
  classes = dict.fromkeys((label, label.replace(' ', '_'))) if label else ()
  below = ['', *(f'{name}/' for name in classes)]
  above = ['', *(f'{w}/' for w in tables.SPLIT_WORDS.get(split, (split,)))]
  return tuple(a + b for a in above for b in below if a + b)

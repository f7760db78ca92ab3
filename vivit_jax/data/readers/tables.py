"""Parsing of annotation files, and checks that all readers share."""

import contextlib
import csv
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vivit_jax.data.annotations import Example, Splits
from vivit_jax.errors import UserError, nearest

Cells = dict[str, str]  # text of each cell of a row, by column name

# The owners' names of the splits, in file names and columns.
SPLIT_WORDS = {
  'train': ('train', 'training'),
  'validation': ('validation', 'validate', 'val'),
  'test': ('test', 'testing'),
}


def split_of(word: str) -> str:
  """Returns the standard name of a split, or `word` if it is not standard."""
  for split, words in SPLIT_WORDS.items():
    if word.lower() in words:
      return split
  return word


def split_files(
  path: pathlib.Path, ending: str = '.csv'
) -> dict[str, pathlib.Path]:
  """Returns the annotation file of each split.

  A file in a folder belongs to a split if its name is one of SPLIT_WORDS, or
  ends in one after '-' or '_': train.csv, kinetics_val.csv. The standard names
  train.csv, validation.csv and test.csv take precedence. A single file is the
  file of 'train'.

  Raises:
    UserError: no such file in the folder, or two for one split.
  """
  if not path.is_dir():
    return {'train': path}
  files = {}
  for split, words in SPLIT_WORDS.items():
    pattern = rf'(.*[-_])?({"|".join(words)}){re.escape(ending)}'
    matches = sorted(
      file for file in path.iterdir() if re.fullmatch(pattern, file.name)
    )
    standard = path / f'{split}{ending}'
    if len(matches) > 1 and standard not in matches:
      raise UserError(
        f'{path} has both {matches[0].name} and {matches[1].name} for the '
        f"split '{split}': remove one."
      )
    if matches:
      files[split] = standard if standard in matches else matches[0]
  if not files:
    raise UserError(
      f'{path} has no train{ending}, validation{ending} or test{ending}.'
    )
  return files


def read_splits(
  files: dict[str, pathlib.Path],
  columns: Sequence[str],
  example: Callable[[str, str, Cells], Example | None],
  split_name: Callable[[str], str] = split_of,
) -> Splits:
  """Reads CSV files with a header into validated examples.

  Args:
    files: the file of each split; a column `split` overrides the split.
    columns: as in `rows`.
    example: (split, where, cells) -> example, or None to leave the row out.
    split_name: normalises a value of the column `split`.

  Raises:
    UserError: invalid files, columns, cells or names.
  """
  collector, heads = Collector(), {}
  for default, file in files.items():
    for where, cells in rows(file, columns):
      split = split_name(cells.get('split') or default)
      new = example(split, where, cells)
      if new is None:
        continue
      collector.add(split, new, where)
      heads[tuple(sorted(new.labels))] = file
  if len(heads) > 1:
    first, second, *_ = heads
    raise UserError(
      f'{heads[first]} has the labels {", ".join(first)}, but {heads[second]} '
      f'has {", ".join(second)}: give all files the same columns.'
    )
  return collector.splits


class Collector:
  """Collects validated examples.

  Attributes:
    splits: the examples of each split, in the order of `add`.
  """

  def __init__(self):
    self.splits: Splits = {}
    self._seen = set()

  def add(self, split: str, example: Example, where: str) -> None:
    """Adds an example to a split; `where` is its file and line, for errors.

    Raises:
      UserError: an invalid split or path, or a duplicate id.
    """
    # TFDS needs such names in file names and in slices such as 'train[:10]'.
    if not re.fullmatch(r'[A-Za-z]\w*', split) or split == 'all':
      raise UserError(
        f"{where} has the split '{split}': use letters, digits and '_', a "
        "letter first, and not the name 'all'."
      )
    for path in (example.path, *example.alternatives):
      pure = pathlib.PurePosixPath(path)
      if pure.is_absolute() or '..' in pure.parts:
        raise UserError(
          f"{where} has the path '{path}', which is outside the folder of "
          'videos: make it relative to that folder.'
        )
    if (split, example.id) in self._seen:
      raise UserError(f"{where} repeats '{example.id}' of the split '{split}'.")
    self._seen.add((split, example.id))
    self.splits.setdefault(split, []).append(example)


def rows(
  file: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[str, Cells]]:
  """Yields ('<file> line <number>', cells) of each row below the header.

  Args:
    file: the CSV file.
    columns: required columns, which must not have empty cells.

  Raises:
    UserError: no such file, or invalid columns or cells.
  """
  below = lines(file)
  _, header = next(below, ('', []))
  for column in columns:
    if column not in header:
      raise UserError(
        f"{file} has no column '{column}'; its first line is "
        f"'{','.join(header)}'.{nearest(column, header)}"
      )
  if len(set(header)) < len(header):
    raise UserError(
      f"{file} has the columns '{','.join(header)}': give each a unique name."
    )
  where = None
  for where, cells in below:
    if len(cells) != len(header):
      raise UserError(
        f'{where} has {len(cells)} cells, but the first line has '
        f'{len(header)}: put quotes around cells that contain commas.'
      )
    by_column = dict(zip(header, cells))
    for column in columns:
      if not by_column[column]:
        raise UserError(f"{where} has no value in column '{column}'.")
    yield where, by_column
  if where is None:
    raise UserError(f'{file} has no rows below its first line.')


def header(file: pathlib.Path) -> list[str]:
  """Returns the column names of a CSV file; [] if it is empty."""
  return next(lines(file), ('', []))[1]


def lines(
  file: pathlib.Path, delimiter: str = ','
) -> Iterator[tuple[str, list[str]]]:
  """Yields ('<file> line <number>', cells) of each non-blank CSV line."""
  with _reading(file), open(file, encoding='utf-8-sig', newline='') as stream:
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield f'{file} line {reader.line_num}', cells


def words(file: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Yields ('<file> line <number>', words) of each non-blank line."""
  with _reading(file), open(file, encoding='utf-8-sig') as stream:
    for number, line in enumerate(stream, 1):
      if line.split():
        yield f'{file} line {number}', line.split()


def in_order(
  numbers: Mapping[str, int], file: pathlib.Path, first: int = 0
) -> list[str]:
  """Returns labels in the order of their numbers, which `file` gives.

  Raises:
    UserError: the numbers are not consecutive from `first`, each once.
  """
  if sorted(numbers.values()) != list(range(first, first + len(numbers))):
    raise UserError(
      f'{file} must number its {len(numbers)} labels from {first}, each once.'
    )
  return sorted(numbers, key=numbers.get)


def read_json(file: pathlib.Path) -> Any:
  """Returns the content of a JSON file."""
  with _reading(file):
    text = file.read_text('utf-8-sig')
  try:
    return json.loads(text)
  except ValueError as error:
    raise UserError(f'{file} is not JSON: {error}.') from None


@contextlib.contextmanager
def _reading(file: pathlib.Path) -> Iterator[None]:
  """Raises a UserError if an annotation file cannot be read."""
  try:
    yield
  except FileNotFoundError:
    raise UserError(f'no annotations at {file}.') from None
  except UnicodeDecodeError:
    raise UserError(f'{file} is not UTF-8 text: save it as CSV.') from None
  except csv.Error as error:
    raise UserError(f'{file} is not a CSV file: {error}.') from None
  except OSError as error:
    raise UserError(f'cannot read {file}: {error.strerror}.') from None

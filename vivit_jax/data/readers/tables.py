"""Tables in files, and the checks that all annotations share."""

import collections
import contextlib
import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from vivit_jax.data.annotations import Example, Splits
from vivit_jax.errors import UserError, nearest

# What owners call the splits, in names of files and in columns.
SPLIT_WORDS = {
  'train': ('train', 'training'),
  'validation': ('validation', 'validate', 'val'),
  'test': ('test', 'testing'),
}


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a table.

  Attributes:
    where: its file and line, for errors.
    cells: by the names of the columns.
  """

  where: str
  cells: dict[str, str]


def split_of(word: str) -> str:
  """Returns this package's name of a split; `word` where it is another's."""
  for split, words in SPLIT_WORDS.items():
    if word.lower() in words:
      return split
  return word


def split_files(
  path: pathlib.Path, default_split: str, ending: str = '.csv'
) -> dict[str, pathlib.Path]:
  """Returns the file of each split: `path` itself, or those in the folder.

  A file in a folder is a split's if its name is one of the split's words, or
  ends in one after '-' or '_': train.csv, kinetics_val.csv. The plain names,
  train.csv, validation.csv and test.csv, come before others.

  Raises:
    UserError: no such file in the folder, or two of one split.
  """
  if not path.is_dir():
    return {default_split: path}
  files = {}
  for split, words in SPLIT_WORDS.items():
    pattern = rf'(.*[-_])?({"|".join(words)}){re.escape(ending)}'
    found = sorted(
      file for file in path.iterdir() if re.fullmatch(pattern, file.name)
    )
    plain = path / f'{split}{ending}'
    if len(found) > 1 and plain not in found:
      raise UserError(
        f'{path} has both {found[0].name} and {found[1].name} for the split '
        f"'{split}': leave one."
      )
    if found:
      files[split] = plain if plain in found else found[0]
  if not files:
    raise UserError(
      f'{path} is a folder without train{ending}, validation{ending} or '
      f'test{ending}.'
    )
  return files


def read_splits(
  files: dict[str, pathlib.Path],
  columns: Sequence[str],
  example: Callable[[str, Row], Example | None],
  filled: Collection[str] | None = None,
  split_name: Callable[[str], str] = split_of,
) -> Splits:
  """Reads CSV files with a header into checked examples.

  Args:
    files: of each split; a column `split` overrides it, line by line.
    columns: that must be there.
    example: split and row -> example, or None to leave the row out.
    filled: columns that need a value; None for all but those that end in [].
    split_name: what is made of a value of the column `split`.

  Raises:
    UserError: files, columns, cells or names that do not do.
  """
  splits, heads = collections.defaultdict(list), {}
  collector = Collector(splits)
  for default, file in files.items():
    for row in rows(file, columns, filled):
      split = split_name(row.cells.get('split') or default)
      one = example(split, row)
      if one is None:
        continue
      collector.add(split, one, row.where)
      heads[tuple(sorted(one.labels))] = file
  if len(heads) > 1:
    first, second, *_ = heads
    raise UserError(
      f'{heads[first]} has labels {", ".join(first)}, but {heads[second]} has '
      f'{", ".join(second)}: give all files the same columns.'
    )
  return dict(splits)


class Collector:
  """Puts examples into splits, and refuses those that cannot be."""

  def __init__(self, splits: Splits):
    self._splits, self._seen = splits, set()

  def add(self, split: str, example: Example, where: str) -> None:
    """Adds an example; `where` is what an error begins with."""
    check_split(split, where)
    for path in (example.path, *example.elsewhere):
      check_path(path, where)
    if (split, example.id) in self._seen:
      raise UserError(f"{where} has '{example.id}' of {split} again.")
    self._seen.add((split, example.id))
    self._splits.setdefault(split, []).append(example)


def rows(
  file: pathlib.Path,
  columns: Sequence[str],
  filled: Collection[str] | None = None,
) -> Iterator[Row]:
  """Yields the rows of a CSV file below its header.

  Args:
    file: the path.
    columns: that must be there.
    filled: columns that need a value; None for all but those that end in [].

  Raises:
    UserError: no such file, or one with columns or cells that do not do.
  """
  numbered = lines(file)
  _, header = next(numbered, (1, []))
  for column in columns:
    if column not in header:
      raise UserError(
        f"{file} has no column '{column}' in its first line, which is "
        f"'{','.join(header)}'.{nearest(column, header)}"
      )
  if len(set(header)) < len(header) or (filled is None and '' in header):
    raise UserError(
      f"{file} has the columns '{','.join(header)}': each needs a name of its "
      'own.'
    )
  if filled is None:
    filled = [column for column in header if not column.endswith('[]')]
  number = None
  for number, cells in numbered:
    where = f'{file} line {number}'
    if len(cells) != len(header):
      raise UserError(
        f'{where} has {len(cells)} cells, but the first line has '
        f'{len(header)} (a comma in a cell needs quotes around the cell).'
      )
    row = Row(where, dict(zip(header, cells)))
    for column in filled:
      if not row.cells[column]:
        raise UserError(f"{where} has no value in column '{column}'.")
    yield row
  if number is None:
    raise UserError(f'{file} has no rows below its first line.')


def header(file: pathlib.Path) -> list[str]:
  """Returns the columns of a CSV file; [] of an empty one."""
  return next(lines(file), (1, []))[1]


def lines(
  file: pathlib.Path, delimiter: str = ','
) -> Iterator[tuple[int, list[str]]]:
  """Yields line number and stripped cells of each line that is not blank."""
  with _reading(file), open(file, encoding='utf-8-sig', newline='') as stream:
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield reader.line_num, cells


def words(file: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Yields place and words of each line of a text that is not blank."""
  with _reading(file), open(file, encoding='utf-8-sig') as stream:
    for number, line in enumerate(stream, 1):
      if line.split():
        yield f'{file} line {number}', line.split()


def read_json(file: pathlib.Path) -> Any:
  """Returns the content of a JSON file, or of one JSON object a line."""
  with _reading(file):
    text = file.read_text('utf-8-sig')
  try:
    return json.loads(text)
  except ValueError as error:
    try:
      return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
      raise UserError(f'{file} is not JSON: {error}.') from None


@contextlib.contextmanager
def _reading(file: pathlib.Path) -> Iterator[None]:
  """Says in one sentence why a file of annotations cannot be read."""
  try:
    yield
  except FileNotFoundError:
    raise UserError(f'there are no annotations at {file}.') from None
  except UnicodeDecodeError:
    raise UserError(f'{file} is not text in UTF-8: save it as CSV.') from None
  except csv.Error as error:
    raise UserError(f'{file} is not a CSV file: {error}.') from None
  except OSError as error:
    raise UserError(f'cannot read {file}: {error.strerror}.') from None


def check_split(split: str, where: str) -> None:
  """Raises a UserError for what is no name of a split."""
  # What tfds takes in names of files and in slices such as 'train[:10]'.
  if not re.fullmatch(r'[A-Za-z]\w*', split) or split == 'all':
    raise UserError(
      f"{where} has the split '{split}': a split's name has letters, digits "
      "and '_', begins with a letter, and is not 'all'."
    )


def check_path(path: str, where: str) -> None:
  """Raises a UserError for a path that leads out of the folder of videos."""
  if '\0' in path:
    raise UserError(f'{where} has a NUL in its path.')
  pure = pathlib.PurePosixPath(path)
  if pure.is_absolute() or '..' in pure.parts:
    raise UserError(
      f"{where} has the path '{path}', which is outside the folder of videos: "
      'make it relative to that folder.'
    )

"""Parsing of annotation files, and checks that all readers share.

All functions raise UserError, which names the file and line.
"""

import math
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from vivit_jax.data.annotations import Example, Splits
from vivit_jax.data.readers import text
from vivit_jax.errors import UserError, nearest

Cells = dict[str, str]  # text of each cell of a row, by column name

# The names of the splits in file names, folders and columns, in any case.
SPLIT_WORDS = {
  'train': ('train', 'training'),
  'validation': ('validation', 'validate', 'valid', 'val', 'dev'),
  'test': ('test', 'testing'),
}


def split_of(word: str) -> str:
  """Returns the standard name of a split, or `word` if it is not standard."""
  for split, words in SPLIT_WORDS.items():
    if word.lower() in words:
      return split
  return word


def split_in(path: str, alone: bool = False) -> str | None:
  """Returns the split that a path names, as 'k400_train_list.txt' does.

  Of several words in `SPLIT_WORDS`, the last decides: 'train/test-1' is 'test'.
  If `alone`, only a path with one such word names a split.
  """
  words = '|'.join(word for words in SPLIT_WORDS.values() for word in words)
  found = re.findall(rf'(?i)(?<![a-z])({words})(?![a-z])', path)
  if not found or (alone and len(found) > 1):
    return None
  return split_of(found[-1])


def split_files(
  path: pathlib.Path, endings: Sequence[str]
) -> dict[str, pathlib.Path]:
  """Returns the annotation file of each split.

  A file in a folder belongs to the split that its name has (`split_in`). A
  single file whose name has no split is the file of 'train'. The result is
  empty if a folder has no such file; two for one split are an error.
  """
  if not path.is_dir():
    return {split_in(path.stem, alone=True) or 'train': path}
  files = {}
  for file in sorted(path.iterdir()):
    split = split_in(file.stem)
    if split is None or file.suffix.lower() not in endings:
      continue
    other = files.setdefault(split, file)
    if other != file:
      raise UserError(
        f"{path} has both {other.name} and {file.name} for the split '{split}':"
        ' remove one.'
      )
  return {split: files[split] for split in SPLIT_WORDS if split in files}


def read_splits(
  files: Mapping[str, pathlib.Path],
  columns: Sequence[str],
  example: Callable[[str, str, Cells], Example | None],
) -> Splits:
  """Reads CSV files with a header into validated examples.

  Args:
    files: the file of each split; a column `split` overrides the split.
    columns: as in `rows`.
    example: (split, where, cells) -> example, or None to leave the row out.
  """
  collector = Collector()
  for default, file in files.items():
    for where, cells in rows(file, columns):
      split = split_of(cells.get('split') or default)
      new = example(split, where, cells)
      if new is not None:
        collector.add(split, new, where)
  return collector.splits


class Collector:
  """Validates examples, and collects them in `splits`, in order."""

  def __init__(self):
    self.splits: Splits = {}
    self._seen = set()
    self._heads = {}  # the first place of each set of heads

  def add(self, split: str, example: Example, where: str) -> None:
    """Adds an example to a split; `where` is its file and line, for errors."""
    self._heads.setdefault(tuple(sorted(example.labels)), where)
    if len(self._heads) > 1:
      (first, place), _ = self._heads.items()
      raise UserError(
        f'{where} has the labels {", ".join(sorted(example.labels))}, but '
        f'{place} has {", ".join(first)}: give all files the same columns.'
      )
    # TFDS needs such names in file names and in slices such as 'train[:10]'.
    if not re.fullmatch(r'[A-Za-z]\w*', split) or split == 'all':
      raise UserError(
        f"{where} has the split '{split}': use letters, digits and '_', a "
        "letter first, and not the name 'all'."
      )
    try:
      example.path.encode()
    except UnicodeEncodeError:
      raise UserError(
        f'the path {example.path!r} is not UTF-8: rename the file.'
      ) from None
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

  `columns` are required, and must not have empty cells.
  """
  below = text.lines(file)
  _, header = next(below, ('', []))
  for column in columns:
    if column not in header:
      raise UserError(
        f"{file} has no column '{column}'; its first line is "
        f"'{','.join(header)}'.{nearest(column, header)}"
      )
  names = list(filter(None, header))
  if len(set(names)) < len(names):
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


def seconds(cell: str, where: str) -> float:
  """Returns '62.34', '1:02.34' or '00:01:02.34' in seconds."""
  cell = cell.replace(',', '.')  # a decimal comma
  if not re.fullmatch(r'((\d+:)?\d+:)?\d+(\.\d+)?(e[-+]\d+)?', cell):
    raise UserError(
      f"{where} has the time '{cell}': write it in seconds, or as 00:01:02.340."
    )
  parts = reversed(cell.split(':'))
  return math.fsum(60**power * float(part) for power, part in enumerate(parts))


def whole(cell: str, where: str) -> int:
  """Returns a whole number of a cell."""
  if not re.fullmatch(r'\d+(\.0+)?', cell):  # pandas writes 3.0
    raise UserError(f"{where} has '{cell}' instead of a whole number.")
  return int(float(cell))


def in_order(
  numbers: Iterable[tuple[str, int]], file: pathlib.Path, first: int = 0
) -> list[str]:
  """Returns labels in the order of their numbers, both from `file`.

  The numbers must be consecutive from `first`, each once, and so the labels.
  """
  numbers = list(numbers)
  expected = list(range(first, first + len(dict(numbers))))
  if sorted(number for _, number in numbers) != expected:
    raise UserError(
      f'{file} must number its {len(expected)} labels from {first}, each once.'
    )
  return [label for label, _ in sorted(numbers, key=lambda pair: pair[1])]


def unlabelled_note(count: int) -> tuple[str, ...]:
  """Returns the note for test videos without labels, if there are any."""
  note = f'{count} test videos have no labels and are left out'
  return (note,) if count else ()

"""Which videos a dataset has, and their labels, from its owners' files.

A reader takes the path of such files and returns `Splits`. Another dataset is
one more reader here, and one more builder in `datasets`.
"""

import collections
import csv
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from vivit_jax.errors import UserError, nearest

SPLIT_FILES = ('train', 'validation', 'test')  # .csv, in a folder of them


@dataclasses.dataclass(frozen=True)
class Example:
  """One annotated video.

  Attributes:
    path: relative to the folder of videos, with slashes.
    id: unique in its split.
    labels: of each head, a name; of a multi-label head, a tuple of names.
  """

  path: str
  id: str
  labels: Mapping[str, str | tuple[str, ...]]


Splits = dict[str, list[Example]]


@dataclasses.dataclass(frozen=True)
class _Row:
  where: str  # file and line, for errors
  cells: dict[str, str]


def read_csv(path: str | os.PathLike, default_split: str = 'train') -> Splits:
  """Reads this package's own annotations of any folder of videos.

  Args:
    path: a CSV file with a header: `path` is the video's, `split` (may be
      left out) the split's name, and every other column one head of labels. A
      column such as `tags[]` has any number of them, with ; between.
      Or a folder that holds any of train.csv, validation.csv and test.csv.
    default_split: of a file without `split`; in a folder, its files' names.

  Returns:
    The examples of each split, in the file's order.

  Raises:
    UserError: files, columns, cells or names that do not do; it names the
      file and, where there is one, the line.
  """

  def example(row: _Row) -> Example:
    video = str(pathlib.PurePosixPath(row.cells['path']))  # './a' is 'a'
    labels: dict[str, str | tuple[str, ...]] = {}
    for name, cell in row.cells.items():
      if name.endswith('[]'):
        names = (part.strip() for part in cell.split(';'))
        labels[name[:-2]] = tuple(sorted({part for part in names if part}))
      elif name not in ('path', 'split'):
        labels[name] = cell
    return Example(video, video, labels)

  splits = _read(path, ('path',), default_split, example)
  heads = [tuple(examples[0].labels) for examples in splits.values()]
  if not heads[0]:
    raise UserError(
      f'{path} has no column of labels beside path and split: add one, for '
      "instance 'label'."
    )
  for head in heads[0]:
    # A head's name becomes a name of metrics, and of the report's files.
    if not re.fullmatch(r'[\w-]+', head) or head == 'joint':
      raise UserError(
        f"{path} has the column '{head}', which is to be a head of the model: "
        "its name has letters, digits, '_' and '-', and is not 'joint'."
      )
  return splits


def read_kinetics_csv(
  path: str | os.PathLike,
  heads: Sequence[str] = ('label',),
  default_split: str = 'train',
) -> Splits:
  """Reads annotations in Kinetics' layout.

  Args:
    path: a CSV file with the columns youtube_id, time_start, time_end
      (seconds), split and those of `heads`; or a folder, as in `read_csv`.
      A video's file is `<youtube_id>_<start:06d>_<end:06d>.mp4`.
    heads: columns of labels.
    default_split: as in `read_csv`.

  Raises:
    UserError: as in `read_csv`.
  """

  def example(row: _Row) -> Example:
    try:
      start, end = (
        int(row.cells[f'time_{which}']) for which in ('start', 'end')
      )
    except ValueError:
      raise UserError(
        f'{row.where} has a time_start or time_end that is no whole number of '
        'seconds.'
      ) from None
    name = f'{row.cells["youtube_id"]}_{start:06d}_{end:06d}'
    return Example(f'{name}.mp4', name, {h: row.cells[h] for h in heads})

  columns = ('youtube_id', 'time_start', 'time_end', *heads)
  return _read(path, columns, default_split, example)


def _read(
  path: str | os.PathLike,
  columns: Sequence[str],
  default_split: str,
  example: Callable[[_Row], Example],
) -> Splits:
  """Reads one file or a folder of them into checked examples."""
  path = pathlib.Path(path)
  files = {default_split: path}
  if path.is_dir():
    files = {s: path / f'{s}.csv' for s in SPLIT_FILES}
    files = {s: file for s, file in files.items() if file.exists()}
    if not files:
      raise UserError(
        f'{path} is a folder without train.csv, validation.csv or test.csv.'
      )
  splits, seen, heads = collections.defaultdict(list), set(), {}
  for default, file in files.items():
    for row in _rows(file, columns):
      split = row.cells.get('split', default)
      _check_split(split, row.where)
      one = example(row)
      _check_path(one.path, row.where)
      if (split, one.path) in seen:
        raise UserError(f"{row.where} has '{one.path}' of {split} again.")
      seen.add((split, one.path))
      heads[tuple(sorted(one.labels))] = file
      splits[split].append(one)
  if len(heads) > 1:
    first, second, *_ = heads
    raise UserError(
      f'{heads[first]} has labels {", ".join(first)}, but {heads[second]} has '
      f'{", ".join(second)}: give all files the same columns.'
    )
  return dict(splits)


def _rows(file: pathlib.Path, columns: Sequence[str]) -> Iterator[_Row]:
  """Yields the rows of a CSV file, each with a value in every cell."""
  lines = _lines(file)
  _, header = next(lines, (1, []))
  for column in columns:
    if column not in header:
      raise UserError(
        f"{file} has no column '{column}' in its first line, which is "
        f"'{','.join(header)}'.{nearest(column, header)}"
      )
  if len(set(header)) < len(header) or '' in header:
    raise UserError(
      f"{file} has the columns '{','.join(header)}': each needs a name of its "
      'own.'
    )
  number = None
  for number, cells in lines:
    where = f'{file} line {number}'
    if len(cells) != len(header):
      raise UserError(
        f'{where} has {len(cells)} cells, but the first line has '
        f'{len(header)} (a comma in a cell needs quotes around the cell).'
      )
    for column, cell in zip(header, cells):
      if not cell and not column.endswith('[]'):
        raise UserError(f"{where} has no value in column '{column}'.")
    yield _Row(where, dict(zip(header, cells)))
  if number is None:
    raise UserError(f'{file} has no rows below its first line.')


def _lines(file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
  """Yields line number and stripped cells of each line that is not blank."""
  try:
    with open(file, encoding='utf-8-sig', newline='') as stream:
      reader = csv.reader(stream, skipinitialspace=True)
      for cells in reader:
        cells = [cell.strip() for cell in cells]
        if any(cells):
          yield reader.line_num, cells
  except FileNotFoundError:
    raise UserError(f'there are no annotations at {file}.') from None
  except UnicodeDecodeError:
    raise UserError(f'{file} is not text in UTF-8: save it as CSV.') from None
  except csv.Error as error:
    raise UserError(f'{file} is not a CSV file: {error}.') from None
  except OSError as error:
    raise UserError(f'cannot read {file}: {error.strerror}.') from None


def _check_split(split: str, where: str) -> None:
  # What tfds takes in names of files and in slices such as 'train[:10]'.
  if not re.fullmatch(r'[A-Za-z]\w*', split) or split == 'all':
    raise UserError(
      f"{where} has the split '{split}': a split's name has letters, digits "
      "and '_', begins with a letter, and is not 'all'."
    )


def _check_path(path: str, where: str) -> None:
  if '\0' in path:
    raise UserError(f'{where} has a NUL in its path.')
  pure = pathlib.PurePosixPath(path)
  if pure.is_absolute() or '..' in pure.parts:
    raise UserError(
      f"{where} has the path '{path}', which is outside the folder of videos: "
      'make it relative to that folder.'
    )


def label_maps(
  splits: Splits,
  train_split: str = 'train',
  label_names: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[str]]:
  """Returns the names of each head's labels, in the order of their indices.

  The names are the train split's, sorted; all splits' where there is no train
  split; or those of `label_names`, in its order.

  Raises:
    UserError: a label that the names do not have, or heads that differ from
      those of `label_names`.
  """
  heads = sorted(next(iter(splits.values()))[0].labels)
  if label_names is None:
    known = [train_split] if train_split in splits else list(splits)
    source = f"the split '{train_split}'"
    maps = {
      head: sorted({n for s in known for n in _names(splits[s], head)})
      for head in heads
    }
  else:
    if sorted(label_names) != heads:
      raise UserError(
        f'the given label names are of {", ".join(sorted(label_names))}, but '
        f'the annotations have {", ".join(heads)}.'
      )
    source = 'the given label names'
    maps = {head: list(label_names[head]) for head in heads}
  for split, examples in splits.items():
    for head, names in maps.items():
      strangers = _names(examples, head).difference(names)
      if strangers:
        label = min(strangers)
        raise UserError(
          f"the split '{split}' has the {head} '{label}', which {source} "
          f'does not have.{nearest(label, names)}'
        )
  return maps


def _names(examples: Sequence[Example], head: str) -> set[str]:
  """Returns all names that a head has in some examples."""
  found = set()
  for example in examples:
    label = example.labels[head]
    found.update((label,) if isinstance(label, str) else label)
  return found


def multi_label_heads(splits: Splits) -> list[str]:
  """Returns the heads of which a video has any number of labels, sorted."""
  first = next(iter(splits.values()))[0]
  return sorted(h for h, label in first.labels.items() if type(label) is tuple)


def read_label_names(path: str | os.PathLike) -> dict[str, list[str]]:
  """Reads label names in their order, to prepare another set with them.

  Args:
    path: a JSON file `{head: [names]}`, or the folder of a prepared dataset
      (`data/videos/mine/1.0.0`), whose names are taken.

  Raises:
    UserError: no such file, or another content.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / 'metadata.json'
  try:
    names = json.loads(path.read_text('utf-8'))
  except (OSError, ValueError):
    raise UserError(f'there is no JSON of label names at {path}.') from None
  if isinstance(names, dict):
    names = names.get('label_names', names)
  good = isinstance(names, dict) and all(
    isinstance(of_head, list)
    and all(isinstance(name, str) for name in of_head)
    and len(set(of_head)) == len(of_head)
    for of_head in names.values()
  )
  if not good or not names:
    raise UserError(
      f'{path} does not hold label names as {{"head": ["name", "name"]}}, each '
      'name once.'
    )
  return names

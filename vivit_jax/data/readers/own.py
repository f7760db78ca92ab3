"""Annotations of a user's own videos: CSV files, lists, or class folders."""

import os
import pathlib
from collections.abc import Sequence

from vivit_jax.data import decode
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import columns, folders, tables, text
from vivit_jax.errors import UserError

_ENDINGS = ('.csv', '.tsv', '.txt')
_METADATA = 'metadata.csv'  # of Hugging Face's VideoFolder


def read(
  path: pathlib.Path | None,
  videos: pathlib.Path,
  labels: Sequence[str] | None = None,
  frames_rate: float | None = None,
) -> Annotated:
  """Reads the annotations of a user's own videos.

  A file is a CSV file with a header (`columns.Columns`), or has lines `path
  label`, as SlowFast, VideoMAE and mmaction2 write them.

  Args:
    path: a file; or a folder that has one for each split, train.csv and
      val.csv, or metadata.csv, as Hugging Face's VideoFolder. None for the
      folder of videos; if it has no such file, its class folders are read.
    videos: the folder of videos.
    labels: the columns of labels; None for those that are named like labels.
    frames_rate: frames per second of folders of frames.

  Raises:
    UserError: invalid files, columns, cells or names.
  """
  path = path or videos
  files = list(tables.found_split_files(path, _ENDINGS).items())
  if path.is_dir():
    found = [*path.glob(_METADATA), *sorted(path.glob(f'*/{_METADATA}'))]
    files += [('', file) for file in found]
    if not files and path.resolve() == videos.resolve():
      return folders.read(videos)
  if not files:
    raise UserError(
      f'{path} has no file train.csv, validation.csv, test.csv or {_METADATA}.'
    )
  collector, understood = tables.Collector(), []
  for split, file in files:
    header = tables.header(file)
    table = columns.path_column(header) is not None
    form = None if table else _list_form(file, videos)
    if form is None:
      of_file = columns.columns_of(file, header, labels)
      _read_table(file, split, of_file, videos, frames_rate, collector)
      understood.append(f'{file} ({text.form(file)}): {of_file}')
    else:
      _read_list(file, split, form, videos, collector)
      understood.append(f"{file}: lines 'path label', without a header")
  return Annotated(collector.splits, understood=tuple(understood))


def _read_table(
  file: pathlib.Path,
  default: str,
  of_file: columns.Columns,
  videos: pathlib.Path,
  frames_rate: float | None,
  collector: tables.Collector,
) -> None:
  """Collects a CSV file's examples; the default split '' is their folder's."""
  folder = ''
  if file.name == _METADATA and file.is_relative_to(videos):
    folder = f'{file.parent.relative_to(videos).as_posix()}/'
  for where, cells in tables.rows(file, of_file.required):
    path = _relative(folder + cells[of_file.path], videos)
    first = tables.split_of(path.partition('/')[0])
    split = default or (first if first in tables.SPLIT_WORDS else 'train')
    if of_file.split:
      split = tables.split_of(cells[of_file.split])
    example = of_file.example(path, cells, where, frames_rate)
    collector.add(split, example, where)


def _list_form(
  file: pathlib.Path, videos: pathlib.Path
) -> tuple[str | None, int] | None:
  """Returns the arguments that split lines of a list; None if it is no list.

  After the path come a label, or a folder's number of frames and a label
  (mmaction2's rawframes), with spaces or commas between.
  """
  _, line = next(text.plain_lines(file), ('', ''))
  for separator, fields in ((None, 1), (None, 2), (',', 1), (',', 2)):
    path, *others = line.rsplit(separator, fields) or ['']
    is_video = pathlib.PurePath(path).suffix.lower() in decode.SUFFIXES
    if len(others) == fields and (is_video or os.path.isdir(videos / path)):
      return separator, fields
  return None


def _read_list(
  file: pathlib.Path,
  split: str,
  form: tuple[str | None, int],
  videos: pathlib.Path,
  collector: tables.Collector,
) -> None:
  """Collects the examples of a list of this `_list_form`."""
  for where, line in text.plain_lines(file):
    path, *others = line.rsplit(*form)
    if len(others) < form[1]:
      raise UserError(f"{where} is '{line}', not a path and a label.")
    path = _relative(path.strip(), videos)
    labels = {'label': others[-1].strip()}
    collector.add(split, Example(path, path, labels), where)


def _relative(path: str, videos: pathlib.Path) -> str:
  """Returns a path relative to the folder of videos: './a' is 'a'."""
  pure = pathlib.PurePosixPath(path)
  for folder in (videos.absolute(), videos.resolve()):
    if pure.is_relative_to(folder.as_posix()):
      return str(pure.relative_to(folder.as_posix()))
  return str(pure)

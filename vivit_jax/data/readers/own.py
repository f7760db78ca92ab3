"""Annotations of a user's own videos: CSV files, lists, or class folders."""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from vivit_jax.data import decode
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import columns, folders, tables, text
from vivit_jax.errors import UserError

_ENDINGS = ('.csv', '.tsv', '.txt')  # in a folder, the first that is there
_METADATA = 'metadata.csv'  # of Hugging Face's VideoFolder

Found = Iterator[tuple[str, Example, str]]  # split, example, where


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
  """
  path = path or videos
  files = _files(path)
  if not files:
    if path.resolve() == videos.resolve() and not labels:
      return folders.read(videos)
    raise UserError(
      f'{path} has no file train.csv, validation.csv, test.csv or {_METADATA}.'
    )
  collector, understood, notes = tables.Collector(), [], []
  for split, file in files:
    first_line = next(text.plain_lines(file), ('', ''))[1]
    header = next(text.lines(file), ('', []))[1]
    if columns.path_column(header) is None and _is_list(first_line, videos):
      if labels:
        raise UserError(f'{file} has no header with columns for --labels.')
      found = _read_list(file, split, videos, frames_rate)
      understood.append(f"{file}: lines 'path label', without a header")
    else:
      of_file = columns.columns_of(file, header, labels)
      found = _read_table(file, split, of_file, videos, frames_rate)
      understood.append(f'{file} ({text.form(file)}): {of_file}')
    if 'cp1252' in understood[-1]:
      notes.append(
        f'{file} is not UTF-8; if class names look wrong, save it as UTF-8'
      )
    for example in found:
      collector.add(*example)
  return Annotated(
    collector.splits, notes=tuple(notes), understood=tuple(understood)
  )


def _files(path: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
  """Returns the files of annotations with their splits, '' for metadata.csv."""
  if path.name == _METADATA:
    return [('', path)]
  if not path.is_dir():
    return list(tables.split_files(path, _ENDINGS).items())
  metadata = [*path.glob(_METADATA), *sorted(path.glob(f'*/{_METADATA}'))]
  files = [('', file) for file in metadata]
  for ending in _ENDINGS:
    files = files or list(tables.split_files(path, (ending,)).items())
  return files


def _read_table(
  file: pathlib.Path,
  default: str,
  of_file: columns.Columns,
  videos: pathlib.Path,
  frames_rate: float | None,
) -> Found:
  """Yields a CSV file's examples; the default split '' is their folder's."""
  folder = pathlib.Path()
  if file.name == _METADATA and file.resolve().is_relative_to(videos.resolve()):
    folder = file.resolve().parent.relative_to(videos.resolve())
  for where, cells in tables.rows(file, of_file.required):
    path = _relative(folder / cells[of_file.path], videos)
    first = tables.split_of(path.partition('/')[0])
    split = default or (first if first in tables.SPLIT_WORDS else 'train')
    if of_file.split:
      split = tables.split_of(cells[of_file.split])
    yield split, of_file.example(path, cells, where, frames_rate), where


def _is_list(line: str, videos: pathlib.Path) -> bool:
  """Returns whether a file's first line is a path and a label."""
  parts = _parts(line)
  return parts is not None and (
    pathlib.PurePath(parts[0]).suffix.lower() in decode.SUFFIXES
    or os.path.isdir(videos / parts[0])
  )


def _parts(line: str) -> tuple[str, str] | None:
  """Returns the path and label of a line, or None.

  The label is what follows the ending of a video, or the last word. Before it,
  there may be a folder's number of frames (mmaction2's rawframes).
  """
  endings = '|'.join(map(re.escape, decode.SUFFIXES))
  for pattern in (
    rf'(.+?(?:{endings}))\s*[\s,;]\s*(.+)',
    r'(.+?)\s+\d+\s+(\d+)',
    r'(.+?)\s*[\s,;]\s*(\S+)',
  ):
    if match := re.fullmatch(pattern, line, re.IGNORECASE):
      return match[1], match[2]
  return None


def _read_list(
  file: pathlib.Path,
  split: str,
  videos: pathlib.Path,
  frames_rate: float | None,
) -> Found:
  """Yields the examples of lines 'path label'."""
  word = {'validation': 'val'}.get(split, split)
  for where, line in text.plain_lines(file):
    parts = _parts(line)
    if parts is None:
      raise UserError(f"{where} is '{line}', not a path and a label.")
    path, label = _relative(pathlib.PurePosixPath(parts[0]), videos), parts[1]
    if re.search(r'[,;\t]', label) or re.fullmatch(r'\d+(\s+\d+)+', label):
      raise UserError(
        f"{where} has more than a path and a label: '{label}'. Write a first "
        "line with the names of columns, such as 'path,label[],split'."
      )
    others = (f'{word}/{path}', f'videos_{word}/{path}')  # mmaction2's
    example = Example(
      path, path, {'label': label}, others, frames_rate=frames_rate
    )
    yield split, example, where


def _relative(path: pathlib.PurePath, videos: pathlib.Path) -> str:
  """Returns a path relative to the folder of videos: './a' is 'a'."""
  if path.is_absolute():
    for root in (videos.absolute(), videos.resolve()):
      if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
  return path.as_posix()

"""EPIC-Kitchens-100: actions in untrimmed videos, each a verb and a noun."""

import functools
import math
import os
import pathlib
import re

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

CLASSES = {'verb': 97, 'noun': 300}
_FILE = 'EPIC_100_{}.csv'
_COLUMNS = (
  'narration_id',
  'participant_id',
  'video_id',
  'start_timestamp',
  'stop_timestamp',
  'start_frame',
  'stop_frame',
  'verb_class',
  'noun_class',
)


def read(path: str | os.PathLike) -> Annotated:
  """Reads EPIC_100_train.csv and EPIC_100_validation.csv.

  An action is the part of a video from `start_timestamp` to before
  `stop_timestamp`; in a folder of frames, the files numbered `start_frame` to
  `stop_frame`. Labels keep the owners' numbers: their names are the keys of
  EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv where these are
  beside, and 'verb 12' where they are not.

  Args:
    path: the folder of these files, or one of them.

  Raises:
    UserError: files, columns or cells that do not do.
  """
  path = pathlib.Path(path)
  folder = path if path.is_dir() else path.parent
  files = {s: folder / _FILE.format(s) for s in ('train', 'validation')}
  files = {
    split: file
    for split, file in files.items()
    if path == file or (path == folder and file.exists())
  }
  names = {head: _names(folder, head) for head in CLASSES}

  def example(split: str, row: tables.Row) -> Example:
    del split
    cells = row.cells
    start, end = (
      _seconds(cells[f'{which}_timestamp'], row.where)
      for which in ('start', 'stop')
    )
    first, last = (
      _whole(cells[f'{which}_frame'], row.where) for which in ('start', 'stop')
    )
    if not (start < end and first <= last):
      raise UserError(f'{row.where} has an action that stops before it starts.')
    labels = {}
    for head, of_head in names.items():
      number = _whole(cells[f'{head}_class'], row.where)
      if number >= len(of_head):
        raise UserError(
          f'{row.where} has {head}_class {number}; they are 0 to '
          f'{len(of_head) - 1}.'
        )
      labels[head] = of_head[number]
    path, *elsewhere = _places(cells['participant_id'], cells['video_id'])
    return Example(
      path,
      cells['narration_id'],
      labels,
      tuple(elsewhere),
      start,
      end,
      (first, last),
    )

  if not files:
    raise UserError(
      f'{path} is not, and does not hold, EPIC_100_train.csv or '
      'EPIC_100_validation.csv: give the folder of these files as '
      '--annotations.'
    )
  splits = tables.read_splits(files, _COLUMNS, example, _COLUMNS)
  return Annotated(splits, names)


@functools.cache  # one tuple a video, and not one an action
def _places(participant: str, video: str) -> tuple[str, ...]:
  """Returns the paths that a video or its frames may have."""
  return (
    f'{participant}/videos/{video}.MP4',
    f'{participant}/{video}.MP4',
    f'{video}.MP4',
    f'{participant}/videos/{video}.mp4',
    f'{participant}/{video}.mp4',
    f'{video}.mp4',
    f'{participant}/rgb_frames/{video}',
    f'{participant}/{video}',
    video,
  )


def _seconds(text: str, where: str) -> float:
  """'00:01:02.340' -> 62.34."""
  if not re.fullmatch(r'\d+:\d\d:\d\d(\.\d+)?', text):
    raise UserError(
      f"{where} has the time '{text}', which is not as 00:01:02.340."
    )
  hours, minutes, seconds = text.split(':')
  return math.fsum((3600 * int(hours), 60 * int(minutes), float(seconds)))


def _whole(text: str, where: str) -> int:
  if not text.isdecimal():
    raise UserError(f"{where} has '{text}' where a whole number is to be.")
  return int(text)


def _names(folder: pathlib.Path, head: str) -> list[str]:
  """Returns the names of a head's classes in the order of their numbers."""
  file = folder / _FILE.format(f'{head}_classes')
  if not file.exists():
    return [f'{head} {number}' for number in range(CLASSES[head])]
  numbers = {}
  for row in tables.rows(file, ('id', 'key'), ('id', 'key')):
    numbers[row.cells['key']] = _whole(row.cells['id'], row.where)
  if sorted(numbers.values()) != list(range(len(numbers))):
    raise UserError(f'{file} does not number its keys from 0, each once.')
  return sorted(numbers, key=numbers.get)

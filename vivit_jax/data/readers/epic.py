"""EPIC-Kitchens-100: actions (verb and noun) in untrimmed videos."""

import functools
import math
import os
import pathlib
import re

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.catalogue import DATASETS
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_CLASSES = DATASETS['epic_kitchens_100'].classes
_FILE = 'EPIC_100_{}.csv'
_COLUMNS = (
  'narration_id', 'participant_id', 'video_id', 'start_timestamp',
  'stop_timestamp', 'start_frame', 'stop_frame', 'verb_class', 'noun_class',
)  # fmt: skip


def read(path: str | os.PathLike) -> Annotated:
  """Reads EPIC_100_train.csv and EPIC_100_validation.csv.

  An action is a segment of a video, from `start_timestamp` to before
  `stop_timestamp`; in a folder of frames, the files numbered `start_frame` to
  `stop_frame`. Labels keep the owners' numbers. Their names are the keys in
  EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv in the same folder;
  without these files, names are like 'verb 12'.

  Args:
    path: the folder of these files.

  Raises:
    UserError: invalid files, columns or cells.
  """
  folder = pathlib.Path(path)
  files = {s: folder / _FILE.format(s) for s in ('train', 'validation')}
  files = {split: file for split, file in files.items() if file.exists()}
  if not files:
    raise UserError(
      f'{path} has no EPIC_100_train.csv or EPIC_100_validation.csv: give the '
      'folder of these files as --annotations.'
    )
  names = {head: _names(folder, head) for head in _CLASSES}

  def example(_: str, where: str, cells: tables.Cells) -> Example:
    start, end = (
      _seconds(cells[f'{which}_timestamp'], where)
      for which in ('start', 'stop')
    )
    first, last = (
      _whole(cells[f'{which}_frame'], where) for which in ('start', 'stop')
    )
    if not (start < end and first <= last):
      raise UserError(f'{where} has an action that stops before it starts.')
    labels = {}
    for head, of_head in names.items():
      number = _whole(cells[f'{head}_class'], where)
      if number >= len(of_head):
        raise UserError(
          f'{where} has {head}_class {number}: use 0 to {len(of_head) - 1}.'
        )
      labels[head] = of_head[number]
    first_path, *others = _paths(cells['participant_id'], cells['video_id'])
    return Example(
      path=first_path,
      id=cells['narration_id'],
      labels=labels,
      alternatives=tuple(others),
      start=start,
      end=end,
      frames=(first, last),
    )

  splits = tables.read_splits(files, _COLUMNS, example)
  return Annotated(splits, names)


@functools.cache  # one tuple per video, not per action
def _paths(participant: str, video: str) -> tuple[str, ...]:
  """Returns the possible paths of a video or of its frames."""
  folders = (f'{participant}/videos/', f'{participant}/', '')
  files = [f'{f}{video}.{end}' for end in ('MP4', 'mp4') for f in folders]
  frames = (f'{participant}/rgb_frames/{video}', f'{participant}/{video}')
  return *files, *frames, video


def _seconds(text: str, where: str) -> float:
  """'00:01:02.340' -> 62.34."""
  if not re.fullmatch(r'\d+:\d\d:\d\d(\.\d+)?', text):
    raise UserError(f"{where} has the time '{text}': write it as 00:01:02.340.")
  hours, minutes, seconds = text.split(':')
  return math.fsum((3600 * int(hours), 60 * int(minutes), float(seconds)))


def _whole(text: str, where: str) -> int:
  if not text.isdecimal():
    raise UserError(f"{where} has '{text}' instead of a whole number.")
  return int(text)


def _names(folder: pathlib.Path, head: str) -> list[str]:
  """Returns the class names of a head, in the order of their numbers."""
  file = folder / _FILE.format(f'{head}_classes')
  if not file.exists():
    return [f'{head} {number}' for number in range(_CLASSES[head])]
  numbers = {}
  for where, cells in tables.rows(file, ('id', 'key')):
    numbers[cells['key']] = _whole(cells['id'], where)
  return tables.in_order(numbers, file)

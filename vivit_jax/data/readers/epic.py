"""EPIC-Kitchens-100: actions (verb and noun) in untrimmed videos."""

import functools
import pathlib

from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.catalogue import DATASETS
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_CLASSES = DATASETS['epic_kitchens_100'].classes
_BOUNDS = ('start', 'stop')
_FILE = 'EPIC_100_{}.csv'
_COLUMNS = (
  'narration_id', 'participant_id', 'video_id', 'start_timestamp',
  'stop_timestamp', 'start_frame', 'stop_frame', 'verb_class', 'noun_class',
)  # fmt: skip


def read(folder: pathlib.Path, frames_rate: float | None = None) -> Annotated:
  """Reads EPIC_100_train.csv and EPIC_100_validation.csv in a folder.

  An action is a segment of a video, from `start_timestamp` to before
  `stop_timestamp`; in a folder of frames, the files numbered `start_frame` to
  `stop_frame`. Labels keep the owners' numbers. Their names are the keys in
  EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv in the same folder;
  without these files, names are like 'verb 12'.

  Args:
    folder: the folder of these files.
    frames_rate: frames per second of folders of frames; None if they have the
      rate of their videos, by which `start_frame` and `stop_frame` count.
  """
  files = {s: folder / _FILE.format(s) for s in ('train', 'validation')}
  files = {split: file for split, file in files.items() if file.exists()}
  if not files:
    raise UserError(
      f'{folder} has no EPIC_100_train.csv or EPIC_100_validation.csv: give '
      'the folder of these files as --annotations.'
    )
  names = {head: _names(folder, head) for head in _CLASSES}

  def example(_: str, where: str, cells: tables.Cells) -> Example:
    start, end = (
      tables.seconds(cells[f'{bound}_timestamp'], where) for bound in _BOUNDS
    )
    first, last = (
      tables.whole(cells[f'{bound}_frame'], where) for bound in _BOUNDS
    )
    if not (start < end and first <= last):
      raise UserError(f'{where} has an action that stops before it starts.')
    labels = {}
    for head, of_head in names.items():
      number = tables.whole(cells[f'{head}_class'], where)
      if number >= len(of_head):
        raise UserError(
          f'{where} has {head}_class {number}: use 0 to {len(of_head) - 1}.'
        )
      labels[head] = of_head[number]
    path, *others = _paths(cells['participant_id'], cells['video_id'])
    return Example(
      path=path,
      id=cells['narration_id'],
      labels=labels,
      alternatives=tuple(others),
      start=start,
      end=end,
      frames=(first, last) if frames_rate is None else None,
      frames_rate=frames_rate,
    )

  splits = tables.read_splits(files, _COLUMNS, example)
  return Annotated(splits, names, understood=tuple(map(str, files.values())))


@functools.cache  # one tuple per video, not per action
def _paths(participant: str, video: str) -> tuple[str, ...]:
  """Returns the possible paths of a video or of its frames."""
  folders = (f'{participant}/videos/', f'{participant}/', '')
  files = [f'{f}{video}.{end}' for end in ('MP4', 'mp4') for f in folders]
  frames = (f'{participant}/rgb_frames/{video}', f'{participant}/{video}')
  return *files, *frames, video


def _names(folder: pathlib.Path, head: str) -> list[str]:
  """Returns the class names of a head, in the order of their numbers."""
  file = folder / _FILE.format(f'{head}_classes')
  if not file.exists():
    return [f'{head} {number}' for number in range(_CLASSES[head])]
  rows = tables.rows(file, ('id', 'key'))
  pairs = ((cells['key'], tables.whole(cells['id'], w)) for w, cells in rows)
  return tables.in_order(pairs, file)

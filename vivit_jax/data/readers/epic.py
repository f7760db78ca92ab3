"""EPIC-Kitchens-100: actions (verb and noun) in untrimmed videos."""

import functools
import itertools
import os
import pathlib

from vivit_jax.data import raw_videos
from vivit_jax.data.annotations import Annotated, Example, Splits
from vivit_jax.data.catalogue import DATASETS
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError

_CLASSES = DATASETS['epic_kitchens_100'].classes
_BOUNDS = ('start', 'stop')
_CHECKED = 3  # folders of frames
_MIN_SHARE = 0.9  # of the frames that actions need
_FILE = 'EPIC_100_{}.csv'
_COLUMNS = (
  'narration_id', 'participant_id', 'video_id', 'start_timestamp',
  'stop_timestamp', 'start_frame', 'stop_frame', 'verb_class', 'noun_class',
)  # fmt: skip


def read(
  path: str | os.PathLike,
  videos: pathlib.Path | None = None,
  frames_rate: float | None = None,
) -> Annotated:
  """Reads EPIC_100_train.csv and EPIC_100_validation.csv.

  An action is a segment of a video, from `start_timestamp` to before
  `stop_timestamp`; in a folder of frames, the files numbered `start_frame` to
  `stop_frame`. Labels keep the owners' numbers. Their names are the keys in
  EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv in the same folder;
  without these files, names are like 'verb 12'.

  Args:
    path: the folder of these files.
    videos: the folder of videos or of folders of frames; None if unknown.
    frames_rate: frames per second of folders of frames; None if they have the
      rate of their videos, by which `start_frame` and `stop_frame` count.

  Raises:
    UserError: invalid files, columns or cells, or frames of another rate.
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
    first_path, *others = _paths(cells['participant_id'], cells['video_id'])
    return Example(
      path=first_path,
      id=cells['narration_id'],
      labels=labels,
      alternatives=tuple(others),
      start=start,
      end=end,
      frames=(first, last) if frames_rate is None else None,
      frames_rate=frames_rate,
    )

  splits = tables.read_splits(files, _COLUMNS, example)
  if videos is not None and frames_rate is None:
    _check_rate(splits, videos)
  return Annotated(splits, names, understood=tuple(map(str, files.values())))


def _check_rate(splits: Splits, videos: pathlib.Path) -> None:
  """Raises a UserError if the folders of frames seem to have another rate."""
  last_actions = {}
  for example in itertools.chain.from_iterable(splits.values()):
    other = last_actions.setdefault(example.path, example)
    if example.frames[1] > other.frames[1]:
      last_actions[example.path] = example
  located = ((raw_videos.locate(videos, e), e) for e in last_actions.values())
  folders = ((path, example) for path, example in located if path.is_dir())
  for path, example in itertools.islice(folders, _CHECKED):
    last, needed = raw_videos.last_frame(path), example.frames[1]
    if 0 < last < _MIN_SHARE * needed:
      raise UserError(
        f'{path} ends at frame {last}, but its last action at {needed}: give '
        'the rate at which frames were extracted as --frames_rate; if it is '
        "the video's own, extract this one again."
      )


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
  numbers = {}
  for where, cells in tables.rows(file, ('id', 'key')):
    numbers[cells['key']] = tables.whole(cells['id'], where)
  return tables.in_order(numbers, file)

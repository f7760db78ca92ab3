"""Summary of a prepared dataset: videos, broken videos, disk space."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from vivit_jax.data import catalogue, raw_videos, readers, shards
from vivit_jax.data.annotations import Splits
from vivit_jax.data.index import read_index, splits_in
from vivit_jax.errors import UserError

_MAX_LISTED = 20  # broken videos named on the terminal
_ABSENT = 'does not exist'  # the reason of `containers.opened`


@dataclasses.dataclass(frozen=True)
class Summary:
  """A prepared dataset."""

  folder: pathlib.Path
  videos: int  # readable ones, in all splits
  frames: int  # of these videos
  broken: list[tuple[str, str]]  # path and reason of each broken video


def print_summary(
  name: str,
  folder: pathlib.Path,
  written: Mapping[str, shards.Written],
  split_number: int,
  seconds: float,
) -> Summary:
  """Prints the summary of a new dataset, with official counts, and returns it.

  `name` is that in the catalogue; `seconds` is how long preparation took.
  """
  official = catalogue.DATASETS[name].counts
  if name in readers.NUMBERED:
    print(f'split {split_number} of 3')
  for split, of_split in written.items():
    count = official.get(split, official.get(f'{split_number}/{split}'))
    print(
      f'{split}: {len(of_split.good)} videos, {len(of_split.broken)} skipped'
      + ('' if count is None else f', officially {count}')
    )
  summary = summary_of(folder)
  size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
  good = [video for of_split in written.values() for video in of_split.good]
  per_hour = ''
  if all(video['rate'] for video in good):
    hours = sum(video['frames'] / video['rate'] for video in good) / 3600
    per_hour = f' ({size / hours:.0f} MB an hour of video)'
  print(
    f'{folder}: {summary.videos} videos, {summary.frames} frames, '
    f'{size:.0f} MB{per_hour}, in {seconds:.0f} s'
  )
  return summary


def check_broken(
  written: Mapping[str, shards.Written],
  max_broken: float,
  videos: pathlib.Path,
  folder: pathlib.Path,
  splits: Splits,
) -> None:
  """Lists broken videos in `folder`/skipped.csv and on the terminal.

  If all of a split or more than a share `max_broken` are, raises a UserError.
  """
  broken = [
    (split, video['path'], video['reason'], video['id'])
    for split, of_split in written.items()
    for video in of_split.broken
  ]
  total = len(broken) + sum(len(split.good) for split in written.values())
  with open(folder / 'skipped.csv', 'w', newline='') as file:
    csv.writer(file).writerows([('split', 'path', 'reason', 'id'), *broken])
  for _, path, reason, identity in broken[:_MAX_LISTED]:
    which = '' if identity in path else f' ({identity})'
    print(f'skipped: {path}{which} {reason}')
  if len(broken) > _MAX_LISTED:
    print(f'skipped: and {len(broken) - _MAX_LISTED} more')
  absent = [entry for entry in broken if entry[2] == _ABSENT]
  looked = ''
  if absent and len(broken) > max_broken * total:
    split, *_, identity = absent[0]
    example = next(e for e in splits[split] if e.id == identity)
    places = raw_videos.places(videos, example)
    paths = (path.relative_to(videos).as_posix() for path in places)
    looked = f' Looked for {", ".join(paths)}.'
  if len(absent) == total:
    raise UserError(
      f'none of the {total} videos is in {videos}, the folder of --videos.'
      f'{looked}'
    )
  if len(broken) > max_broken * total:
    raise UserError(
      f'{len(broken)} of {total} videos cannot be read ({broken[0][1]} '
      f'{broken[0][2]}): repair those in {folder / "skipped.csv"} and run the '
      f'same command again, or raise --max_broken, {max_broken}.{looked}'
    )
  for split, of_split in written.items():
    if not of_split.good:
      raise UserError(f"no video of the split '{split}' can be read.")


def summary_of(folder: pathlib.Path) -> Summary:
  """Returns the summary of the dataset in a folder."""
  with open(folder / 'skipped.csv', newline='') as file:
    broken = [(row['path'], row['reason']) for row in csv.DictReader(file)]
  indexes = [read_index(folder, split) for split in splits_in(folder)]
  return Summary(
    folder=folder,
    videos=sum(len(index.ids) for index in indexes),
    frames=int(sum(np.sum(index.frame_counts) for index in indexes)),
    broken=broken,
  )

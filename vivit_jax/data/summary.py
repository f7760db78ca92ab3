"""Summary of a prepared dataset: videos, broken videos, disk space."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vivit_jax.data import builders, readers, shards
from vivit_jax.data.annotations import Splits
from vivit_jax.data.index import read_index, splits_in
from vivit_jax.errors import UserError

_MAX_LISTED = 20  # broken videos named on the terminal


@dataclasses.dataclass(frozen=True)
class Summary:
  """A prepared dataset.

  Attributes:
    folder: the folder of records.
    videos: number of readable videos in all splits.
    frames: number of their frames.
    broken: path and reason of each broken video.
  """

  folder: pathlib.Path
  videos: int
  frames: int
  broken: list[tuple[str, str]]


def print_summary(
  name: str,
  folder: pathlib.Path,
  tasks: Sequence[shards.Task],
  reports: Sequence[dict[str, Any]],
  split_number: int,
  seconds: float,
) -> Summary:
  """Prints the summary of a new dataset, with official counts, and returns it.

  Args:
    name: the builder's name.
    folder: the folder of records.
    tasks: the tasks of all shards.
    reports: the report of each task.
    split_number: 1 to 3; ignored unless the dataset is in `readers.NUMBERED`.
    seconds: duration of the preparation.
  """
  official = builders.BUILDERS[name].COUNTS
  if name in readers.NUMBERED:
    print(f'split {split_number} of 3')
  for split in dict.fromkeys(task.split for task in tasks):
    of_split = [r for task, r in zip(tasks, reports) if task.split == split]
    good, broken = (
      sum(len(report[key]) for report in of_split) for key in ('good', 'broken')
    )
    count = official.get(split, official.get(f'{split_number}/{split}'))
    suffix = '' if count is None else f', officially {count}'
    print(f'{split}: {good} videos, {broken} skipped{suffix}')
  summary = summary_of(folder)
  size = sum(path.stat().st_size for path in folder.iterdir())
  print(
    f'{folder}: {summary.videos} videos, {summary.frames} frames, '
    f'{size / 1e6:.0f} MB{_per_hour(size, reports)}, in {seconds:.0f} s'
  )
  return summary


def _per_hour(size: int, reports: Sequence[dict[str, Any]]) -> str:
  """Returns disk space per hour of video, from bytes; '' if unknown."""
  seconds = [
    video.get('seconds') for report in reports for video in report['good']
  ]
  if not seconds or not all(seconds):
    return ''
  return f' ({size / 1e6 / (sum(seconds) / 3600):.0f} MB an hour of video)'


def broken_videos(
  tasks: Sequence[shards.Task], reports: Sequence[dict[str, Any]]
) -> list[tuple[str, str, str]]:
  """Returns split, path and reason of each broken video."""
  return [
    (task.split, video['path'], video['reason'])
    for task, report in zip(tasks, reports)
    for video in report['broken']
  ]


def check_broken(
  broken: Sequence[tuple[str, str, str]],
  splits: Splits,
  max_broken: float,
  videos: pathlib.Path,
  folder: pathlib.Path,
) -> None:
  """Lists broken videos in `folder`/skipped.csv and on the terminal.

  Raises:
    UserError: all videos of a split are broken, or a share above `max_broken`.
  """
  with open(folder / 'skipped.csv', 'w', newline='') as file:
    csv.writer(file).writerows([('split', 'path', 'reason'), *broken])
  for _, path, reason in broken[:_MAX_LISTED]:
    print(f'skipped: {path} {reason}')
  if len(broken) > _MAX_LISTED:
    print(f'skipped: and {len(broken) - _MAX_LISTED} more')
  total = sum(len(examples) for examples in splits.values())
  missing = sum(reason == 'does not exist' for *_, reason in broken)
  if missing == total:
    raise UserError(
      f"none of the {total} videos is in {videos} (the first is '"
      f"{broken[0][1]}'): paths are relative to --videos."
    )
  if len(broken) > max_broken * total:
    raise UserError(
      f'{len(broken)} of {total} videos cannot be read ({broken[0][1]} '
      f'{broken[0][2]}): repair those in {folder / "skipped.csv"} and run the '
      f'same command again, or raise --max_broken, {max_broken}.'
    )
  for split, examples in splits.items():
    if sum(s == split for s, _, _ in broken) == len(examples):
      raise UserError(f"no video of the split '{split}' can be read.")


def summary_of(folder: pathlib.Path) -> Summary:
  """Returns the summary of the dataset in a folder.

  Raises:
    UserError: an index is damaged.
  """
  with open(folder / 'skipped.csv', newline='') as file:
    broken = [(row['path'], row['reason']) for row in csv.DictReader(file)]
  indexes = [read_index(folder, split) for split in splits_in(folder)]
  return Summary(
    folder=folder,
    videos=sum(len(index.ids) for index in indexes),
    frames=int(sum(np.sum(index.frame_counts) for index in indexes)),
    broken=broken,
  )

"""What came of a preparation: counts, what was skipped, disk used."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vivit_jax.data import builders, readers, records, shards
from vivit_jax.data.annotations import Splits
from vivit_jax.errors import UserError

_TOLD = 20  # broken videos that are named on the terminal


@dataclasses.dataclass(frozen=True)
class Summary:
  """What was prepared.

  Attributes:
    folder: of the records.
    videos: that can be read now, of all splits.
    frames: of these videos.
    broken: path and reason of each video that cannot.
  """

  folder: pathlib.Path
  videos: int
  frames: int
  broken: list[tuple[str, str]]


def tell_counts(
  name: str,
  tasks: Sequence[shards.Task],
  reports: Sequence[dict[str, Any]],
  split_number: int,
) -> None:
  """Prints the videos of each split, beside the official number.

  Args:
    name: the builder's.
    tasks, reports: of all shards, in one order.
    split_number: of `readers.NUMBERED` datasets.
  """
  official = builders.BUILDERS[name].COUNTS
  if name in readers.NUMBERED:
    print(f'split {split_number} of 3')
  for split in dict.fromkeys(task.split for task in tasks):
    mine = [r for task, r in zip(tasks, reports) if task.split == split]
    good, broken = (
      sum(len(report[which]) for report in mine) for which in ('good', 'broken')
    )
    count = official.get(split, official.get(f'{split_number}/{split}'))
    officially = '' if count is None else f', officially {count}'
    print(f'{split}: {good} videos, {broken} skipped{officially}')


def per_hour(size: int, reports: Sequence[dict[str, Any]]) -> str:
  """Returns the disk used per hour of video in words, or '' if unknown.

  Args:
    size: bytes of all.
    reports: of the shards.
  """
  lengths = [
    video.get('seconds') for report in reports for video in report['good']
  ]
  if not lengths or not all(lengths):
    return ''
  return f' ({size / 1e6 / (sum(lengths) / 3600):.0f} MB an hour of video)'


def broken_videos(
  tasks: Sequence[shards.Task], reports: Sequence[dict[str, Any]]
) -> list[tuple[str, str, str]]:
  """Returns split, path and reason of each video that cannot be read."""
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
  growing: pathlib.Path,
) -> None:
  """Names the broken videos, and raises where they are too many."""
  with open(growing / 'skipped.csv', 'w', newline='') as file:
    csv.writer(file).writerows([('split', 'path', 'reason'), *broken])
  for _, path, reason in broken[:_TOLD]:
    print(f'skipped: {path} {reason}')
  if len(broken) > _TOLD:
    print(f'skipped: and {len(broken) - _TOLD} more')
  total = sum(len(examples) for examples in splits.values())
  if broken and all(reason == 'does not exist' for *_, reason in broken):
    if len(broken) == total:
      raise UserError(
        f"none of the {total} videos is in {videos} ('{broken[0][1]}' is the "
        'first): give the folder that the paths begin in as --videos.'
      )
  if len(broken) > max_broken * total:
    raise UserError(
      f'{len(broken)} of {total} videos cannot be read ({broken[0][1]} '
      f'{broken[0][2]}), more than the share {max_broken} of --max_broken: '
      f'mend those listed in {growing / "skipped.csv"}, or allow more; the '
      'same command goes on from here.'
    )
  for split, examples in splits.items():
    if sum(s == split for s, _, _ in broken) == len(examples):
      raise UserError(f"no video of the split '{split}' can be read.")


def read(final: pathlib.Path) -> Summary:
  with open(final / 'skipped.csv', newline='') as file:
    broken = [(row['path'], row['reason']) for row in csv.DictReader(file)]
  indexes = [
    records.read_index(final, path.name.removesuffix('.index.json'))
    for path in final.glob('*.index.json')
  ]
  return Summary(
    folder=final,
    videos=sum(len(index.ids) for index in indexes),
    frames=int(sum(np.sum(index.frame_counts) for index in indexes)),
    broken=broken,
  )

"""From a folder of videos and annotations to records, by one command.

  python -m vivit_jax.data.prepare videos/mine --videos=FOLDER --annotations=CSV
  python -m vivit_jax.data.prepare moving_shapes

Shards are written into a folder beside the final one, which takes its name
when all is there: a dataset is whole or absent, and a stopped run goes on.
"""

import argparse
import csv
import dataclasses
import functools
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from vivit_jax.data import (
  annotations,
  datasets,
  moving_shapes,
  records,
  shards,
  staging,
)
from vivit_jax.data import storage as storages
from vivit_jax.data.annotations import Splits, multi_label_heads
from vivit_jax.errors import INTERRUPTED, UserError, exit_on_user_error, nearest

# How each dataset's owners write their annotations.
READERS = {
  'videos': annotations.read_csv,
  'moving_shapes': functools.partial(
    annotations.read_kinetics_csv, heads=('verb', 'noun')
  ),
}
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


def prepare(
  dataset: str,
  *,
  videos: str | os.PathLike,
  annotations: str | os.PathLike,
  data_dir: str | os.PathLike = 'data',
  storage: str = 'jpeg',
  short_side: int | None = None,
  quality: int | None = None,
  workers: int | None = None,
  max_broken: float = 0.01,
  label_names: str | os.PathLike | None = None,
  overwrite: bool = False,
) -> Summary:
  """Writes the records of a dataset; what is already written is kept.

  Args:
    dataset: 'moving_shapes', or 'videos/<a name of yours>'.
    videos: folder of the video files.
    annotations: CSV file, or a folder of them, as the dataset's reader in
      `vivit_jax.data.annotations` takes it.
    data_dir: where datasets are.
    storage: 'jpeg', quick to read, or 'video', small.
    short_side: frames are shrunk to it, in pixels; None keeps their size.
    quality: of JPEGs, 1 to 100 (95); of video, its CRF, 0 to 51, the lower the
      better (18).
    workers: processes; None for one a core.
    max_broken: share of the videos that may be unreadable.
    label_names: JSON file or prepared dataset that gives names and order of
      the labels; None: the training split's own, sorted.
    overwrite: replace a dataset of that name made from something else.

  Raises:
    UserError: annotations, labels or folders that do not do, or too many
      videos that cannot be read.
  """
  name = _check_name(dataset)
  _check_options(short_side, workers, max_broken)
  form = shards.Form(storage, _check_quality(storage, quality), short_side)
  splits = READERS[name](annotations)
  names = _label_names(splits, label_names)
  videos = pathlib.Path(videos)
  if not videos.is_dir():
    raise UserError(f'there is no folder of videos {videos}.')
  final = pathlib.Path(data_dir, dataset, str(datasets.BUILDERS[name].VERSION))
  fingerprint = staging.fingerprint(splits, videos, names, form)
  if final.exists() and not overwrite:
    return _already_there(final, fingerprint)
  growing = final.with_name(f'{final.name}.incomplete')
  begin = time.monotonic()
  try:
    with staging.locked(growing):
      staging.begin(growing, fingerprint)
      tasks = shards.plan(name, splits, growing, videos, form)
      reports = shards.write(tasks, workers)
      broken = _broken(tasks, reports)
      _check_broken(broken, splits, max_broken, videos, growing)
      metadata = {
        'format': records.FORMAT,
        'label_names': names,
        'multi_label': multi_label_heads(splits),
        'storage': storage,
        'fingerprint': fingerprint,
      }
      staging.finish(growing, final, dataset, metadata, splits, tasks, reports)
  except OSError as error:
    raise UserError(
      f'cannot write {error.filename or growing}: {error.strerror or error}. '
      'The same command goes on from here.'
    ) from None
  summary = _read_summary(final)
  size = sum(path.stat().st_size for path in final.iterdir())
  print(
    f'{final}: {summary.videos} videos, {summary.frames} frames, '
    f'{size / 1e6:.0f} MB, in {time.monotonic() - begin:.0f} s'
  )
  return summary


def ensure_embedded(dataset: str, data_dir: str | os.PathLike) -> None:
  """Writes the embedded dataset, if it is the one asked for and is absent."""
  if dataset == 'moving_shapes' and datasets.find(dataset, data_dir) is None:
    prepare_embedded(data_dir)


def prepare_embedded(data_dir: str | os.PathLike, **options: Any) -> None:
  """Writes moving_shapes, its videos first, and then records of them.

  Args:
    data_dir: where datasets are.
    options: of `prepare`.
  """
  raw = pathlib.Path(data_dir, 'raw', 'moving_shapes')
  if datasets.find('moving_shapes', data_dir) is None:
    print(f'writing the embedded dataset, once: first its videos, to {raw}')
  moving_shapes.generate(raw, workers=options.get('workers'))
  prepare(
    'moving_shapes',
    videos=raw / 'videos',
    annotations=raw / 'annotations.csv',
    data_dir=data_dir,
    **options,
  )


def _check_name(dataset: str) -> str:
  """Returns the builder's name of 'builder' or 'videos/<name>'."""
  name, _, rest = dataset.partition('/')
  if name not in READERS:
    raise UserError(
      f"there is no dataset '{dataset}'; there are moving_shapes, and "
      f'videos/NAME with a name of yours.{nearest(name, READERS)}'
    )
  good = all(c.isalnum() or c in '_-' for c in rest)
  if (name == 'videos') != bool(rest) or not good:
    raise UserError(
      f"'{dataset}' does not name a dataset: it is moving_shapes, or "
      "videos/NAME with a name of letters, digits, '_' and '-'."
    )
  return name


def _check_options(
  short_side: int | None, workers: int | None, max_broken: float
) -> None:
  limits = {
    'short_side': (short_side, 8, 1 << 14),
    'workers': (workers, 1, 1024),
    'max_broken': (max_broken, 0, 1),
  }
  for option, (value, low, high) in limits.items():
    if value is not None and not low <= value <= high:
      raise UserError(f'--{option} is {value}; it is from {low} to {high}.')


def _check_quality(storage: str, quality: int | None) -> int:
  """Returns the quality that is asked for, or the storage's own."""
  default, low, high = storages.find(storage).quality
  quality = default if quality is None else quality
  if not low <= quality <= high:
    raise UserError(
      f'--quality is {quality}; of {storage} it is from {low} to {high}.'
    )
  return quality


def _label_names(
  splits: Splits, given: str | os.PathLike | None
) -> dict[str, list[str]]:
  names = None if given is None else annotations.read_label_names(given)
  return annotations.label_maps(splits, label_names=names)


def _already_there(final: pathlib.Path, fingerprint: str) -> Summary:
  try:
    metadata = json.loads((final / 'metadata.json').read_text('utf-8'))
  except (OSError, ValueError):
    metadata = {}
  if metadata.get('fingerprint') != fingerprint:
    raise UserError(
      f'{final} was prepared from other annotations, videos or options: choose '
      'another name, or replace it with --overwrite.'
    )
  print(f'{final} is there already (--overwrite makes it anew)')
  return _read_summary(final)


def _broken(
  tasks: Sequence[shards.Task], reports: Sequence[dict[str, Any]]
) -> list[tuple[str, str, str]]:
  """Returns split, path and reason of each video that cannot be read."""
  return [
    (task.split, video['path'], video['reason'])
    for task, report in zip(tasks, reports)
    for video in report['broken']
  ]


def _check_broken(
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
  if broken and all(not (videos / path).exists() for _, path, _ in broken):
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


def _read_summary(final: pathlib.Path) -> Summary:
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


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m vivit_jax.data.prepare',
    description='Turns a folder of videos and annotations into records.',
  )
  add = parser.add_argument
  add('dataset', help='moving_shapes, or videos/NAME with a name of yours')
  add('--videos', metavar='FOLDER', help='of the video files')
  add('--annotations', metavar='CSV', help='file, or folder of train.csv ...')
  add('--data_dir', default='data', help='where datasets are (data)')
  add('--short_side', type=int, help='shrink frames to this many pixels')
  add('--storage', default='jpeg', help='jpeg, quick, or video, small (jpeg)')
  add('--quality', type=int, help='of JPEGs, 1-100 (95); CRF of video (18)')
  add('--workers', type=int, help='processes (one a core)')
  add(
    '--max_broken',
    type=float,
    default=0.01,
    help='share of videos that may be unreadable (0.01)',
  )
  add('--label_names', metavar='JSON', help='names and order of the labels')
  add('--overwrite', action='store_true', help='replace what is there')
  flags = vars(parser.parse_args())
  with exit_on_user_error():
    try:
      _run(flags)
    except KeyboardInterrupt:
      print('\nstopped; the same command goes on', file=sys.stderr)
      return INTERRUPTED
  return 0


def _run(flags: dict[str, Any]) -> None:
  own = flags['videos'] is None and flags['annotations'] is None
  if flags['dataset'] == 'moving_shapes' and own:
    of_user = ('dataset', 'videos', 'annotations')
    prepare_embedded(**{k: v for k, v in flags.items() if k not in of_user})
    return
  for flag in ('videos', 'annotations'):
    if flags[flag] is None:
      raise UserError(f'--{flag} is missing; --help shows the usage.')
  prepare(flags.pop('dataset'), **flags)


if __name__ == '__main__':
  sys.exit(main())

"""From a folder of videos and annotations to records, by one command.

  python -m vivit_jax.data.prepare videos/mine --videos=DIR --annotations=CSV
  python -m vivit_jax.data.prepare kinetics400 --videos=DIR --annotations=DIR
  python -m vivit_jax.data.prepare moving_shapes

Shards are written into a folder beside the final one, which takes its name
when all is there: a dataset is whole or absent, and a stopped run goes on.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from typing import Any

from vivit_jax.data import (
  builders,
  datasets,
  moving_shapes,
  readers,
  records,
  shards,
  staging,
  summary,
)
from vivit_jax.data import storage as storages
from vivit_jax.data.annotations import (
  Splits,
  check_classes,
  label_maps,
  multi_label_heads,
  read_label_names,
)
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.summary import Summary
from vivit_jax.errors import (
  UserError,
  exit_on_interrupt,
  exit_on_user_error,
  nearest,
)


def prepare(
  dataset: str,
  *,
  videos: str | os.PathLike,
  annotations: str | os.PathLike | None = None,
  data_dir: str | os.PathLike = 'data',
  storage: str = 'jpeg',
  short_side: int | None = None,
  quality: int | None = None,
  workers: int | None = None,
  max_broken: float = 0.01,
  label_names: str | os.PathLike | None = None,
  any_labels: bool = False,
  split_number: int | None = None,
  overwrite: bool = False,
) -> Summary:
  """Writes the records of a dataset; what is already written is kept.

  Args:
    dataset: a name of `builders.BUILDERS`; of videos and sequence_examples
      with a name of the user's: 'videos/mine'.
    videos: folder of the video files.
    annotations: file, or a folder of them, as the dataset's reader in
      `vivit_jax.data.readers` takes it; None where the videos hold them.
    data_dir: where datasets are.
    storage: 'jpeg', quick to read, or 'video', small.
    short_side: frames are shrunk to it, in pixels; None keeps their size.
    quality: of JPEGs, 1 to 100 (95); of video, its CRF, 0 to 51, the lower the
      better (18).
    workers: processes; None for one a core.
    max_broken: share of the videos that may be unreadable.
    label_names: JSON file or prepared dataset that gives names and order of
      the labels; None: the owners', else the training split's own, sorted.
    any_labels: whether there may be another number of them than the official.
    split_number: of datasets with three splits into train and test; None: 1.
    overwrite: replace a dataset of that name made from something else.

  Raises:
    UserError: annotations, labels or folders that do not do, or too many
      videos that cannot be read.
  """
  name = _check_name(dataset)
  _check_options(short_side, workers, max_broken, split_number)
  form = storages.form(storage, quality, short_side)
  if split_number is not None and name not in readers.NUMBERED:
    raise UserError(
      f'--split_number is of {" and ".join(readers.NUMBERED)} only: leave it '
      f'out for {name}.'
    )
  videos = pathlib.Path(videos)
  if not videos.is_dir():
    raise UserError(f'there is no folder of videos {videos}.')
  splits, names = _annotated(
    name, annotations, videos, split_number or 1, label_names, any_labels
  )
  final = pathlib.Path(data_dir, dataset, str(builders.BUILDERS[name].VERSION))
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
      broken = summary.broken_videos(tasks, reports)
      summary.check_broken(broken, splits, max_broken, videos, growing)
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
  summary.tell_counts(name, tasks, reports, split_number or 1)
  done = summary.read(final)
  size = sum(path.stat().st_size for path in final.iterdir())
  print(
    f'{final}: {done.videos} videos, {done.frames} frames, '
    f'{size / 1e6:.0f} MB{summary.per_hour(size, reports)}, in '
    f'{time.monotonic() - begin:.0f} s'
  )
  return done


def _annotated(
  name: str,
  annotations: str | os.PathLike | None,
  videos: pathlib.Path,
  split_number: int,
  label_names: str | os.PathLike | None,
  any_labels: bool,
) -> tuple[Splits, dict[str, list[str]]]:
  """Returns examples and label names, read and checked."""
  given = None if label_names is None else read_label_names(label_names)
  try:
    found = readers.read(
      name,
      None if annotations is None else pathlib.Path(annotations),
      videos,
      split_number=split_number,
      label_names=given,
    )
  except UnreadableVideo as error:  # of records that hold their annotations
    raise UserError(f'{error} Mend it, or move it away.') from None
  source = 'the given label names' if given else "the owners' label names"
  names = label_maps(
    found.splits, label_names=given or found.label_names or None, source=source
  )
  if not any_labels:
    check_classes(name, names, builders.BUILDERS[name].CLASSES)
  for note in found.notes:
    print(f'note: {note}')
  return found.splits, names


def ensure_embedded(dataset: str, data_dir: str | os.PathLike) -> None:
  """Writes the embedded dataset, if it is the one asked for and is absent."""
  if dataset == 'moving_shapes' and datasets.find(dataset, data_dir) is None:
    prepare_embedded(data_dir)


def prepare_embedded(
  data_dir: str | os.PathLike,
  *,
  counts: dict[str, int] | None = None,
  **options: Any,
) -> None:
  """Writes moving_shapes, its videos first, and then records of them.

  Args:
    data_dir: where datasets are.
    counts: videos of each split; None for `moving_shapes.SPLITS`.
    options: of `prepare`.
  """
  raw = pathlib.Path(data_dir, 'raw', 'moving_shapes')
  if datasets.find('moving_shapes', data_dir) is None:
    print(f'writing the embedded dataset, once: first its videos, to {raw}')
  moving_shapes.generate(raw, counts=counts, workers=options.get('workers'))
  prepare(
    'moving_shapes',
    videos=raw / 'videos',
    annotations=raw / 'annotations.csv',
    data_dir=data_dir,
    **options,
  )


def _check_name(dataset: str) -> str:
  """Returns the builder's name of 'builder' or 'builder/<name>'."""
  name, _, rest = dataset.partition('/')
  if name not in builders.BUILDERS:
    raise UserError(
      f"there is no dataset '{dataset}'; there are {builders.names()}, with a "
      f'NAME of yours.{nearest(name, builders.BUILDERS)}'
    )
  good = all(c.isalnum() or c in '_-' for c in rest)
  if builders.BUILDERS[name].MULTIPLE != bool(rest) or not good:
    raise UserError(
      f"'{dataset}' does not name a dataset: they are {builders.names()}, with "
      "a NAME of letters, digits, '_' and '-'."
    )
  return name


def _check_options(
  short_side: int | None,
  workers: int | None,
  max_broken: float,
  split_number: int | None,
) -> None:
  limits = {
    'short_side': (short_side, 8, 1 << 14),
    'workers': (workers, 1, 1024),
    'max_broken': (max_broken, 0, 1),
    'split_number': (split_number, 1, 3),
  }
  for option, (value, low, high) in limits.items():
    if value is not None and not low <= value <= high:
      raise UserError(f'--{option} is {value}; it is from {low} to {high}.')


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
  return summary.read(final)


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m vivit_jax.data.prepare',
    description='Turns a folder of videos and annotations into records.',
  )
  add = parser.add_argument
  add('dataset', help=f'{builders.names()}, with a NAME of yours')
  add('--videos', metavar='FOLDER', help='of the video files')
  add(
    '--annotations',
    metavar='PATH',
    help="the owners' file, or folder of files: docs/datasets.md",
  )
  add('--data_dir', '--out', default='data', help='where datasets are (data)')
  add('--short_side', type=int, help='shrink frames to this many pixels')
  add('--storage', default='jpeg', help='jpeg, quick, or video, small (jpeg)')
  add('--quality', type=int, help='of JPEGs, 1-100 (95); CRF of video (18)')
  add('--workers', '--num_workers', type=int, help='processes (one a core)')
  add(
    '--max_broken',
    type=float,
    default=0.01,
    help='share of videos that may be unreadable (0.01)',
  )
  add('--label_names', metavar='JSON', help='names and order of the labels')
  add(
    '--any_labels',
    action='store_true',
    help='allow another number of labels than the official one',
  )
  add('--split_number', type=int, help='of ucf101 and hmdb51: 1 (default) to 3')
  add('--overwrite', action='store_true', help='replace what is there')
  flags = vars(parser.parse_args())
  with (
    exit_on_user_error(),
    exit_on_interrupt('stopped; the same command goes on'),
  ):
    _run(flags)
  return 0


def _run(flags: dict[str, Any]) -> None:
  own = flags['videos'] is None and flags['annotations'] is None
  if flags['dataset'] == 'moving_shapes' and own:
    of_user = ('dataset', 'videos', 'annotations')
    prepare_embedded(**{k: v for k, v in flags.items() if k not in of_user})
    return
  if flags['videos'] is None:
    raise UserError('--videos is missing; --help shows the usage.')
  prepare(flags.pop('dataset'), **flags)


if __name__ == '__main__':
  sys.exit(main())

"""From a folder of videos and annotations to records, by one command.

  python -m vivit_jax.data.prepare videos/mine --videos=DIR --annotations=CSV
  python -m vivit_jax.data.prepare kinetics400 --videos=DIR --annotations=DIR
  python -m vivit_jax.data.prepare moving_shapes

Shards are written into a folder beside the final one, which takes its name
when all is there: a dataset is whole or absent, and a stopped run goes on.
"""

import json
import os
import pathlib
import sys
import time
from typing import Any

from absl import flags

from vivit_jax import commands
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
from vivit_jax.errors import UserError, nearest


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


def define_flags() -> None:
  """Defines the flags of this command."""
  string, integer = flags.DEFINE_string, flags.DEFINE_integer
  string('videos', None, 'Folder of the video files.')
  string('annotations', None, "The dataset owners' file, or folder of files.")
  string('data_dir', 'data', 'Folder of all datasets.')
  flags.DEFINE_alias('out', 'data_dir')
  integer('short_side', None, 'Shrink frames to this shorter side, in pixels.')
  flags.DEFINE_enum(
    'storage', 'jpeg', ('jpeg', 'video'), 'jpeg reads faster, video is smaller.'
  )
  integer('quality', None, 'jpeg: 1 to 100 (95); video: CRF, 0 to 51 (18).')
  integer('workers', None, 'Processes; the default is one a core.')
  flags.DEFINE_alias('num_workers', 'workers')
  flags.DEFINE_float('max_broken', 0.01, 'Max share of unreadable videos.')
  string(
    'label_names', None, 'JSON file with the names of the labels in order.'
  )
  flags.DEFINE_bool(
    'any_labels', False, 'Allow another number of labels than the official one.'
  )
  integer('split_number', None, 'ucf101 and hmdb51: 1 (default), 2 or 3.')
  flags.DEFINE_bool('overwrite', False, 'Replace an existing dataset.')


_FLAGS = (
  'videos', 'annotations', 'data_dir', 'short_side', 'storage', 'quality',
  'workers', 'max_broken', 'label_names', 'any_labels', 'split_number',
  'overwrite',
)  # fmt: skip


def main(arguments: list[str]) -> None:
  (dataset,) = commands.positional(arguments, 'dataset')
  values = {name: flags.FLAGS[name].value for name in _FLAGS}
  if dataset == 'moving_shapes' and not (
    values['videos'] or values['annotations']
  ):
    del values['videos'], values['annotations']
    prepare_embedded(**values)
    return
  if values['videos'] is None:
    raise UserError('--videos is missing; --help shows the usage.')
  prepare(dataset, **values)


if __name__ == '__main__':
  define_flags()
  usage = f'{__doc__}\nDatasets: {builders.names()}, with a NAME of yours.'
  stopped = 'stopped; the same command goes on'
  sys.exit(commands.run(main, usage, interrupted=stopped))

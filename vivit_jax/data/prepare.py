"""Converts videos and annotations to records.

  python -m vivit_jax.data.prepare videos/mine --videos=DIR
  python -m vivit_jax.data.prepare videos/mine --videos=DIR --annotations=CSV
  python -m vivit_jax.data.prepare kinetics400 --videos=DIR --annotations=DIR
  python -m vivit_jax.data.prepare moving_shapes

Shards are written into a temporary folder, which is renamed at the end: a
dataset is complete or absent. The same command resumes an interrupted run.
"""

import dataclasses
import inspect
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from vivit_jax import commands, locks
from vivit_jax.data import (
  build_dir,
  catalogue,
  datasets,
  moving_shapes,
  overview,
  readers,
  records,
  shards,
  summary,
)
from vivit_jax.data import storage as storages
from vivit_jax.data.annotations import (
  Annotated,
  check_classes,
  label_maps,
  multi_label_heads,
  read_label_names,
  with_validation,
)
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
  square_pixels: bool = True,
  quality: int | None = None,
  workers: int | None = None,
  max_broken: float = 0.01,
  label_names: str | os.PathLike | None = None,
  any_labels: bool = False,
  labels: Sequence[str] | None = None,
  split_number: int | None = None,
  validation_share: float | None = None,
  frames_rate: float | None = None,
  overwrite: bool = False,
) -> Summary:
  """Writes the records of a dataset; resumes an interrupted run.

  The other arguments are the flags of the same names (`define_flags`).

  Args:
    dataset: a key of `catalogue.DATASETS`, or 'videos/mine': 'videos' and
      'sequence_examples' take a name of your choice.
    data_dir: parent folder of the datasets (`--out`).
    label_names: JSON file or prepared dataset with the labels in order; None
      for the owners' order if there is one, else the training split's labels,
      sorted.

  Raises:
    UserError: invalid options, annotations or folders, or too many broken
      videos.
  """
  name = _check_name(dataset)
  for flag, value, known in (
    ('split_number', split_number, readers.NUMBERED),
    ('labels', labels, ('videos',)),
    ('frames_rate', frames_rate, readers.SEGMENTED),
  ):
    if value is not None and name not in known:
      raise UserError(
        f'--{flag} is for {" and ".join(known)} only: leave it out for {name}.'
      )
  options = storages.encoding_options(
    storage, quality, short_side, square_pixels
  )
  videos = pathlib.Path(videos)
  if not videos.is_dir():
    raise UserError(f'no folder of videos at {videos}.')
  annotated, names = _read_annotations(
    name,
    videos,
    label_names,
    any_labels,
    annotations=None if annotations is None else pathlib.Path(annotations),
    split_number=split_number or 1,
    labels=labels,
    frames_rate=frames_rate,
  )
  if validation_share is not None:
    annotated = with_validation(annotated, validation_share)
  overview.show(annotated, names)
  splits = annotated.splits
  final = pathlib.Path(data_dir, dataset, records.VERSION)
  fingerprint = build_dir.fingerprint(splits, videos, names, options)
  if final.exists() and not overwrite:
    return _existing(final, fingerprint)
  folder = final.with_name(f'{final.name}.incomplete')
  in_use = f'another process is preparing {final.parent}: wait until it ends.'
  begin = time.monotonic()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with locks.locked(folder, in_use):
      build_dir.begin(folder, fingerprint)
      tasks = shards.plan(name, splits, folder, videos, options)
      written = shards.write(tasks, workers)
      summary.check_broken(written, max_broken, videos, folder, splits)
      metadata = {
        'format': records.FORMAT,
        'label_names': names,
        'multi_label': multi_label_heads(splits),
        'storage': storage,
        'fingerprint': fingerprint,
      }
      build_dir.finish(folder, final, dataset, metadata, splits, written)
  except OSError as error:
    raise UserError(
      f'cannot write {error.filename or folder}: {error.strerror or error}. '
      'Run the same command again to resume.'
    ) from None
  return summary.print_summary(
    name, final, written, split_number or 1, time.monotonic() - begin
  )


def _read_annotations(
  name: str,
  videos: pathlib.Path,
  label_names: str | os.PathLike | None,
  any_labels: bool,
  **options: Any,
) -> tuple[Annotated, dict[str, list[str]]]:
  """Returns validated examples and label names."""
  given = None if label_names is None else read_label_names(label_names)
  annotated = readers.read_annotations(
    name, videos=videos, label_names=given, **options
  )
  names = label_maps(
    annotated.splits,
    label_names=given or annotated.label_names or None,
    origin='the given label names' if given else "the owners' label names",
  )
  if not any_labels:
    check_classes(name, names, catalogue.DATASETS[name].classes)
  if not annotated.understood:
    read = (str(options['annotations'] or videos),)
    annotated = dataclasses.replace(annotated, understood=read)
  return annotated, names


def ensure_embedded(dataset: str, data_dir: str | os.PathLike) -> None:
  """Prepares moving_shapes if it is the dataset and does not exist yet."""
  if dataset == 'moving_shapes' and datasets.find(dataset, data_dir) is None:
    prepare_embedded(data_dir)


def prepare_embedded(
  data_dir: str | os.PathLike,
  *,
  counts: dict[str, int] | None = None,
  **options: Any,
) -> None:
  """Writes the videos of moving_shapes, then their records.

  `counts` is the number of videos in each split, if not `moving_shapes.SPLITS`;
  `options` are other arguments of `prepare`.
  """
  raw = pathlib.Path(data_dir, 'raw', 'moving_shapes')
  if datasets.find('moving_shapes', data_dir) is None:
    print(f'writing the videos of the embedded dataset to {raw}, once')
  moving_shapes.generate(raw, counts=counts, workers=options.get('workers'))
  prepare(
    'moving_shapes',
    videos=raw / 'videos',
    annotations=raw / 'annotations.csv',
    data_dir=data_dir,
    **options,
  )


def _check_name(dataset: str) -> str:
  """Returns the catalogue's name in 'name' or 'name/mine'."""
  name, _, own_name = dataset.partition('/')
  known = catalogue.DATASETS.get(name)
  valid = re.fullmatch(r'[\w-]*', own_name)
  if known is None or known.named != bool(own_name) or not valid:
    raise UserError(
      f"unknown dataset '{dataset}'; use {catalogue.names()}, with a NAME of "
      f"letters, digits, '_' and '-'.{nearest(name, catalogue.DATASETS)}"
    )
  return name


def _existing(final: pathlib.Path, fingerprint: str) -> Summary:
  """Returns the summary of an existing dataset made from the same inputs."""
  try:
    metadata = json.loads((final / 'metadata.json').read_text('utf-8'))
  except (OSError, ValueError):
    metadata = {}
  if metadata.get('fingerprint') != fingerprint:
    raise UserError(
      f'{final} was prepared from other annotations, videos or options: choose '
      'another name, or replace it with --overwrite.'
    )
  print(f'{final} exists already (--overwrite replaces it)')
  return summary.summary_of(final)


def define_flags() -> None:
  """Defines the flags of this command: the arguments of `prepare`."""
  string, boolean = flags.DEFINE_string, flags.DEFINE_bool
  integer, number = flags.DEFINE_integer, flags.DEFINE_float
  string('videos', None, 'Folder of the video files.')
  string('annotations', None, "The owners' file or folder; or your own.")
  string('data_dir', 'data', 'Folder of all datasets.')
  flags.DEFINE_alias('out', 'data_dir')
  integer('short_side', None, 'Shrink frames to this short side, in pixels.', 8)
  boolean('square_pixels', True, 'Make pixels square, as players do.')
  storages_help = 'jpeg reads faster, video is smaller.'
  flags.DEFINE_enum('storage', 'jpeg', ('jpeg', 'video'), storages_help)
  integer('quality', None, 'jpeg: 1 to 100 (95); video: CRF, 0 to 51 (18).')
  integer('workers', None, 'Processes; by default, one per core.', 1)
  flags.DEFINE_alias('num_workers', 'workers')
  number('max_broken', 0.01, 'Max share of unreadable videos.', 0, 1)
  string('label_names', None, 'JSON file with the names of labels in order.')
  boolean('any_labels', False, 'Accept any number of labels, not the official.')
  flags.DEFINE_list(
    'labels', None, 'videos/NAME: columns of labels; by default, by name.'
  )
  share = 'Share of train that becomes validation.'
  number('validation_share', None, share, 0, 1)
  rate = 'Frames per second of folders of frames.'
  number('frames_rate', None, rate, 0.01)
  integer('split_number', None, 'ucf101 and hmdb51: 1 (default), 2 or 3.', 1, 3)
  boolean('overwrite', False, 'Replace an existing dataset.')


_FLAGS = tuple(inspect.signature(prepare).parameters)[1:]


def main(arguments: list[str]) -> None:
  (dataset,) = commands.positional(arguments, 'dataset')
  values = {name: flags.FLAGS[name].value for name in _FLAGS}
  given = values['videos'] or values['annotations']
  if dataset == 'moving_shapes' and not given:
    del values['videos'], values['annotations']
    prepare_embedded(**values)
    return
  if values['videos'] is None:
    raise UserError('--videos is missing; --help shows the usage.')
  prepare(dataset, **values)


if __name__ == '__main__':
  define_flags()
  usage = f'{__doc__}\nDatasets: {catalogue.names()}; choose any NAME.'
  stopped = 'stopped; the same command goes on'
  sys.exit(commands.run(main, usage, interrupted=stopped))

"""The temporary folder in which a dataset is built."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from vivit_jax.data import records, shards, storage
from vivit_jax.data.annotations import Example, Label, Splits
from vivit_jax.data.catalogue import DATASETS
from vivit_jax.data.index import Index, write_index

_FINGERPRINT_FILE = 'fingerprint.txt'


def fingerprint(
  splits: Splits,
  videos: pathlib.Path,
  names: Mapping[str, list[str]],
  options: storage.EncodingOptions,
) -> str:
  """Returns a digest of the inputs that determine a dataset's records."""
  form = dataclasses.asdict(options)
  if form['square_pixels']:  # the default is left out: datasets of before stay
    del form['square_pixels']
  content = {
    'format': records.FORMAT,
    'videos': str(videos.resolve()),
    'splits': {
      split: [_identity(example) for example in examples]
      for split, examples in splits.items()
    },
    'label_names': names,
    'form': form,
  }
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(example: Example) -> list[Any]:
  """Returns the fields of an example that go into the fingerprint."""
  segment = {
    field: getattr(example, field)
    for field in ('start', 'end', 'frames', 'frames_rate', 'record')
    if getattr(example, field) is not None
  }
  identity = [example.path, example.id, dict(example.labels)]
  return [*identity, segment] if segment else identity


def begin(folder: pathlib.Path, fingerprint: str) -> None:
  """Empties the folder, unless a build from the same inputs can resume."""
  path = folder / _FINGERPRINT_FILE
  if path.exists() and path.read_text() == fingerprint:
    print(f'resuming in {folder}')
    return
  existing = list(folder.iterdir())
  if existing:
    print(f'{folder} was begun from other inputs: starting over')
  for file in existing:
    file.unlink()
  path.write_text(fingerprint)


def finish(
  folder: pathlib.Path,
  final: pathlib.Path,
  dataset: str,
  metadata: Mapping[str, Any],
  splits: Splits,
  written: Mapping[str, shards.Written],
) -> None:
  """Writes indexes and TFDS's files, then renames the folder to `final`."""
  for split, examples in splits.items():
    good = written[split].good
    labels = {example.id: example.labels for example in examples}
    index = Index(
      shard_lengths=written[split].lengths,
      ids=[video['id'] for video in good],
      paths=[video['path'] for video in good],
      frame_counts=[video['frames'] for video in good],
      rates=[video['rate'] for video in good],
      labels={
        head: [_indices(labels[video['id']][head], names) for video in good]
        for head, names in metadata['label_names'].items()
      },
    )
    write_index(folder, split, index)
  _write_tfds_info(dataset, folder, written, metadata)
  if final.exists():
    shutil.rmtree(final)
  os.replace(folder, final)
  # Reports, remains of killed workers, and the fingerprint.
  for pattern in ('*-of-*.json', '*.part', _FINGERPRINT_FILE):
    for path in final.glob(pattern):
      path.unlink()


def _indices(label: Label, names: Sequence[str]) -> int | list[int]:
  if isinstance(label, str):
    return names.index(label)
  return sorted(names.index(name) for name in label)


def _write_tfds_info(
  dataset: str,
  folder: pathlib.Path,
  written: Mapping[str, shards.Written],
  metadata: Mapping[str, Any],
) -> None:
  """Writes the files that make a folder of shards a TFDS dataset."""
  name, _, config = dataset.partition('/')
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=name,
      version=tfds.core.Version(records.VERSION),
      data_dir=os.fspath(folder),
      module_name='',
      config_name=config or None,
    ),
    description=DATASETS[name].description,
    citation=DATASETS[name].citation,
    homepage=DATASETS[name].homepage,
    features=records.features(),
    disable_shuffling=True,
    metadata=tfds.core.MetadataDict(metadata),
  )
  info.set_file_format('array_record')
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name=name, filetype_suffix='array_record'
  )
  splits = []
  for split, shards_of_split in written.items():
    files = folder.glob(f'{name}-{split}.array_record-*-of-*')
    splits.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=shards_of_split.lengths,
        num_bytes=sum(path.stat().st_size for path in files),
        filename_template=template.replace(split=split),
      )
    )
  info.set_splits(tfds.core.splits.SplitDict(splits))
  info.write_to_directory(folder)

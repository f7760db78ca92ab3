"""The temporary folder in which a dataset is built."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from vivit_jax import locks
from vivit_jax.data import records, shards, storage
from vivit_jax.data.annotations import Example, Label, Splits
from vivit_jax.data.builders import BUILDERS
from vivit_jax.data.index import Index, write_index

_FINGERPRINT_FILE = 'fingerprint.txt'


def fingerprint(
  splits: Splits,
  videos: pathlib.Path,
  names: Mapping[str, list[str]],
  options: storage.EncodingOptions,
) -> str:
  """Returns a digest of the inputs that determine a dataset's records."""
  content = {
    'format': records.FORMAT,
    'videos': str(videos.resolve()),
    'splits': {
      split: [_identity(example) for example in examples]
      for split, examples in splits.items()
    },
    'label_names': names,
    'form': dataclasses.asdict(options),
  }
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(example: Example) -> list[Any]:
  """Returns the fields of an example that go into the fingerprint."""
  segment = {
    field: getattr(example, field)
    for field in ('start', 'end', 'frames', 'record')
    if getattr(example, field) is not None
  }
  identity = [example.path, example.id, dict(example.labels)]
  return [*identity, segment] if segment else identity


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Creates the folder and locks it against other processes.

  Raises:
    UserError: another process has locked it.
  """
  folder.mkdir(parents=True, exist_ok=True)
  in_use = f'another process is preparing {folder.parent}: wait until it ends.'
  with locks.locked(folder, in_use):
    yield


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
  tasks: Sequence[shards.Task],
  reports: Sequence[dict[str, Any]],
) -> None:
  """Writes indexes and TFDS's files, then renames the folder to `final`."""
  label_indices = {
    head: {label: index for index, label in enumerate(names)}
    for head, names in metadata['label_names'].items()
  }
  shard_lengths = {}
  for split, examples in splits.items():
    of_split = [r for task, r in zip(tasks, reports) if task.split == split]
    good = [video for report in of_split for video in report['good']]
    labels = {example.id: example.labels for example in examples}
    shard_lengths[split] = [report['records'] for report in of_split]
    index = Index(
      shard_lengths=shard_lengths[split],
      ids=[video['id'] for video in good],
      paths=[video['path'] for video in good],
      frame_counts=[video['frames'] for video in good],
      rates=[video['rate'] for video in good],
      labels={
        head: [_indices(labels[video['id']][head], index_of) for video in good]
        for head, index_of in label_indices.items()
      },
    )
    write_index(folder, split, index)
  _write_tfds_info(dataset, folder, shard_lengths, metadata)
  if final.exists():
    shutil.rmtree(final)
  os.replace(folder, final)
  for task in tasks:
    (final / task.report_path.name).unlink()
  for path in [*final.glob('*.part'), final / _FINGERPRINT_FILE]:
    path.unlink(missing_ok=True)


def _indices(label: Label, index_of: Mapping[str, int]) -> int | list[int]:
  """Returns the index of a label, or the sorted indices of several."""
  if isinstance(label, str):
    return index_of[label]
  return sorted(index_of[name] for name in label)


def _write_tfds_info(
  dataset: str,
  folder: pathlib.Path,
  shard_lengths: Mapping[str, Sequence[int]],
  metadata: Mapping[str, Any],
) -> None:
  """Writes the files that make a folder of shards a TFDS dataset.

  Args:
    dataset: its name, such as 'moving_shapes' or 'videos/mine'.
    folder: the folder of shards.
    shard_lengths: number of records in each shard, for each split.
    metadata: content of metadata.json.
  """
  name, _, config = dataset.partition('/')
  builder = BUILDERS[name](
    data_dir=folder, config=config or None, file_format='array_record'
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name=name, filetype_suffix='array_record'
  )
  infos = []
  for split, lengths in shard_lengths.items():
    files = folder.glob(f'{name}-{split}.array_record-*-of-*')
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=list(lengths),
        num_bytes=sum(path.stat().st_size for path in files),
        filename_template=template.replace(split=split),
      )
    )
  builder.info.set_splits(tfds.core.splits.SplitDict(infos))
  builder.info.metadata.update(metadata)
  builder.info.write_to_directory(folder)

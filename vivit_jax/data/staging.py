"""The folder that a dataset grows in, until it is whole."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from vivit_jax.data import datasets, records, shards
from vivit_jax.data.annotations import Splits

_MARK = 'fingerprint.txt'


def fingerprint(
  splits: Splits,
  names: Mapping[str, list[str]],
  short_side: int | None,
  quality: int,
) -> str:
  """Returns what tells whether records came from the same inputs."""
  content = {
    'format': records.FORMAT,
    'splits': {
      split: [dataclasses.astuple(example) for example in examples]
      for split, examples in splits.items()
    },
    'label_names': names,
    'short_side': short_side,
    'quality': quality,
  }
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def begin(staging: pathlib.Path, mark: str) -> None:
  """Makes the folder for shards; empties one that other inputs began."""
  path = staging / _MARK
  if staging.exists():
    if path.exists() and path.read_text() == mark:
      print(f'going on in {staging}')
      return
    print(f'{staging} was begun from other inputs; beginning anew')
    shutil.rmtree(staging)
  staging.mkdir(parents=True)
  path.write_text(mark)


def finish(
  staging: pathlib.Path,
  final: pathlib.Path,
  dataset: str,
  metadata: Mapping[str, Any],
  splits: Splits,
  tasks: Sequence[shards.Task],
  reports: Sequence[dict[str, Any]],
) -> None:
  """Writes indexes and TFDS's files, and gives the folder its name."""
  lengths = {}
  for split, examples in splits.items():
    mine = [r for task, r in zip(tasks, reports) if task.split == split]
    good = [video for report in mine for video in report['good']]
    labels = {example.id: example.labels for example in examples}
    places = {
      head: {label: place for place, label in enumerate(names)}
      for head, names in metadata['label_names'].items()
    }
    lengths[split] = [report['records'] for report in mine]
    records.write_index(
      staging,
      split,
      records.Index(
        shard_lengths=lengths[split],
        ids=[video['id'] for video in good],
        paths=[video['path'] for video in good],
        frame_counts=[video['frames'] for video in good],
        labels={
          head: [place[labels[video['id']][head]] for video in good]
          for head, place in places.items()
        },
      ),
    )
  datasets.write_info(dataset, staging, lengths, metadata)
  if final.exists():
    shutil.rmtree(final)
  os.replace(staging, final)
  for task in tasks:
    (final / task.report_path.name).unlink()
  for path in [*final.glob('*.part'), final / _MARK]:
    path.unlink(missing_ok=True)

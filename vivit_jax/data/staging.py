"""The folder that a dataset grows in, until it is whole."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vivit_jax import locks
from vivit_jax.data import datasets, records, shards, storage
from vivit_jax.data.annotations import Example, Splits

_MARK = 'fingerprint.txt'


def fingerprint(
  splits: Splits,
  videos: pathlib.Path,
  names: Mapping[str, list[str]],
  form: storage.Form,
) -> str:
  """Returns what tells whether records came from the same inputs."""
  content = {
    'format': records.FORMAT,
    'videos': str(videos.resolve()),
    'splits': {
      split: [_identity(example) for example in examples]
      for split, examples in splits.items()
    },
    'label_names': names,
    'form': dataclasses.asdict(form),
  }
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(example: Example) -> list[Any]:
  """Returns what of an example its records come from."""
  part = {
    field: getattr(example, field)
    for field in ('start', 'end', 'frames', 'record')
    if getattr(example, field) is not None
  }
  identity = [example.path, example.id, dict(example.labels)]
  return [*identity, part] if part else identity


@contextlib.contextmanager
def locked(staging: pathlib.Path) -> Iterator[None]:
  """Makes the folder, and keeps a second process out of it.

  Raises:
    UserError: another process is at work there.
  """
  staging.mkdir(parents=True, exist_ok=True)
  in_use = f'another process is preparing {staging.parent}: wait until it ends.'
  with locks.locked(staging, in_use):
    yield


def begin(staging: pathlib.Path, mark: str) -> None:
  """Empties the folder if other inputs began it."""
  path = staging / _MARK
  found = list(staging.iterdir())
  if path.exists() and path.read_text() == mark:
    print(f'going on in {staging}')
    return
  if found:
    print(f'{staging} was begun from other inputs; beginning anew')
  for file in found:
    file.unlink()
  path.write_text(mark)


def _places(
  label: str | tuple[str, ...], place: Mapping[str, int]
) -> int | list[int]:
  """Returns the index of a label, or of each of several."""
  if isinstance(label, str):
    return place[label]
  return sorted(place[name] for name in label)


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
        rates=[video['rate'] for video in good],
        labels={
          head: [_places(labels[video['id']][head], place) for video in good]
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

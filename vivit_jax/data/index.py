"""A split's index: `<split>.index.json`, beside the shards of records."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vivit_jax.errors import UserError

_SUFFIX = '.index.json'


@dataclasses.dataclass(frozen=True)
class Index:
  """The videos of a split, in the order of their records."""

  shard_lengths: Sequence[int]  # number of records in each shard
  ids: Sequence[str]
  paths: Sequence[str]  # relative to the folder of videos
  frame_counts: Sequence[int]
  rates: Sequence[float | None]  # frames per second; None if unknown
  # Of each head, the label index of each video; for a multi-label head, a list.
  labels: Mapping[str, Sequence[Any]]


def index_path(folder: pathlib.Path, split: str) -> pathlib.Path:
  """Returns the path of a split's index in a dataset's folder."""
  return folder / f'{split}{_SUFFIX}'


def splits_in(folder: pathlib.Path) -> list[str]:
  """Returns the names of the splits in a dataset's folder, sorted."""
  return sorted(
    path.name.removesuffix(_SUFFIX) for path in folder.glob(f'*{_SUFFIX}')
  )


def write_index(folder: pathlib.Path, split: str, index: Index) -> None:
  """Writes a split's index into a dataset's folder."""
  text = json.dumps(dataclasses.asdict(index), ensure_ascii=False)
  index_path(folder, split).write_text(text, 'utf-8')


def read_index(folder: pathlib.Path, split: str) -> Index:
  """Reads a split's index, or raises a UserError."""
  path = index_path(folder, split)
  try:
    index = Index(**json.loads(path.read_text('utf-8')))
    columns = (
      index.paths, index.frame_counts, index.rates, *index.labels.values()
    )  # fmt: skip
    if any(len(column) != len(index.ids) for column in columns):
      raise ValueError
  except (OSError, ValueError, TypeError, AttributeError):
    raise UserError(
      f'{path} is damaged: prepare the dataset again with --overwrite.'
    ) from None
  return index

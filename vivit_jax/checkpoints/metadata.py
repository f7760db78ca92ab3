"""Metadata of a run's checkpoints, read without Orbax.

`<workdir>/checkpoints/<step>/description/metadata` is JSON with config, label
names, scores and checksums. `store` writes it.
"""

import dataclasses
import json
import math
import os
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax.checkpoints import damage
from vivit_jax.checkpoints.damage import Damaged
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError

LabelNames = Mapping[str, list[str]]  # head -> class names, in output order


@dataclasses.dataclass(frozen=True)
class Description:
  """Metadata of a checkpoint."""

  config: TrainConfig  # of the run, heads included
  label_names: LabelNames
  content: str | None = None  # digest of the training split, if known
  # Metrics of steps that are not in metrics.jsonl yet.
  unlogged: Sequence[Mapping[str, float]] = ()
  skipped: int = 0  # number of consecutive non-finite steps up to this one
  multi_label: Sequence[str] = ()  # heads that allow several labels per video
  encoder: str | None = None  # digest of the frozen encoder of a probe

  @classmethod
  def from_json(cls, mapping: Mapping[str, Any]) -> 'Description':
    """Inverts `dataclasses.asdict`.

    Raises:
      UserError: another version of this package wrote the config.
    """
    try:
      config = configs.from_mapping(mapping['config'])
    except UserError as error:
      raise UserError(
        f'the checkpoint of step {mapping.get("step")} was written by another '
        f'version of this package ({error}) Use that version, or train again.'
      ) from None
    return cls(
      config,
      dict(mapping['label_names']),
      mapping.get('content'),
      tuple(mapping.get('unlogged', ())),
      mapping.get('skipped', 0),
      tuple(mapping.get('multi_label', ())),
      mapping.get('encoder'),
    )


def has_checkpoints(workdir: str | os.PathLike) -> bool:
  """Returns whether a workdir has a finished checkpoint."""
  return bool(steps(workdir))


def steps_in(folder: pathlib.Path) -> list[int]:
  """Returns the steps of the finished checkpoints in a folder, ascending."""
  names = [path.name for path in folder.glob('*')]
  return sorted(int(name) for name in names if name.isdecimal())


def steps(workdir: str | os.PathLike) -> list[int]:
  """Returns the steps of a workdir's finished checkpoints, ascending."""
  return steps_in(pathlib.Path(workdir, 'checkpoints'))


def last_description(workdir: str | os.PathLike) -> Description | None:
  """Reads a workdir's newest undamaged metadata; None without checkpoints.

  Raises:
    UserError: the metadata of all checkpoints is damaged.
  """
  folder = pathlib.Path(workdir).absolute() / 'checkpoints'
  mapping, _ = damage.newest(
    folder, steps_in(folder), lambda step: read(folder, step)
  )
  return mapping and Description.from_json(mapping)


def read(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """Reads a checkpoint's metadata as JSON.

  Raises:
    Damaged: the file cannot be read, or was changed.
  """
  with damage.reading(folder, step):
    path = folder / str(step) / 'description' / 'metadata'
    mapping = json.loads(path.read_text('utf-8'))
    expected = mapping.pop('checksum')
    if expected != checksum_of_json(mapping):
      raise Damaged(folder, step, 'its metadata has changed')
    if mapping['step'] != step:
      raise Damaged(folder, step, f'a copy of checkpoint {mapping["step"]}')
    return mapping


def best_score(mapping: Mapping[str, Any]) -> float | None:
  """Returns the score for `train.best_metric`, or None; larger is better."""
  metric = mapping['config']['train']['best_metric']
  score = (mapping.get('scores') or {}).get(metric)
  if score is None or math.isnan(score):
    return None
  return -score if configs.less_is_better(metric) else score


def check_shapes(
  folder: pathlib.Path, step: int, saved: Any, expected: Any
) -> None:
  """Raises a UserError if checkpoint and model differ in shapes or dtypes."""
  theirs, ours = (
    sorted(
      (x.shape, str(np.dtype(x.dtype)))
      for x in jax.tree.leaves(tree)
      if getattr(x, 'shape', ())
    )
    for tree in (dict(saved), expected)
  )
  if theirs != ours:
    different = [x for x in theirs + ours if (x in theirs) != (x in ours)]
    raise UserError(
      f'checkpoint {step} in {folder} belongs to another model: it has '
      f'{len(theirs)} arrays, the model {len(ours)}; only one of them has '
      f'{(different or [None])[0]}. Choose another --workdir.'
    )


def checksum_of_json(mapping: Mapping[str, Any]) -> int:
  """Returns a CRC of a JSON object, independent of key order."""
  return zlib.crc32(json.dumps(mapping, sort_keys=True).encode())


def checksum(tree: Any) -> int:
  """Returns a CRC of a tree's arrays, independent of their order and names."""
  arrays = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
  with futures.ThreadPoolExecutor(4) as pool:
    each = pool.map(lambda x: zlib.crc32(x.reshape(-1).view(np.uint8)), arrays)
    return zlib.crc32(json.dumps(sorted(each)).encode())

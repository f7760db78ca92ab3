"""What a run's checkpoints are on disk, read without Orbax.

`<workdir>/checkpoints/<step>/description` is a JSON with the config (pixel
preprocessing included), the label names and checksums. `store` writes it, and
the arrays beside it.
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

_MOST_SWELLING = 100  # times that arrays may be larger than their files,
_ALLOWANCE = 256 << 20  # and so many bytes
_CHECKSUMS = ('arrays', 'checksum')  # beside a description,
_SCORES = 'scores'  # and what validation gave, or None

LabelNames = Mapping[str, list[str]]  # of each head, in the order of logits


@dataclasses.dataclass(frozen=True)
class Description:
  """What a checkpoint must say of itself to be of use alone.

  Attributes:
    config: of the run, with its heads.
    label_names: of each head.
    content: of the split that the run trains on, where it is known.
    unlogged: metrics of the steps that no line of metrics.jsonl tells yet.
    skipped: how many of the last steps, in a row, were not finite.
    multi_label: heads of which a video may have any number of labels.
  """

  config: TrainConfig
  label_names: LabelNames
  content: str | None = None
  unlogged: Sequence[Mapping[str, float]] = ()
  skipped: int = 0
  multi_label: Sequence[str] = ()

  def to_json(self) -> dict[str, Any]:
    return {
      'config': dataclasses.asdict(self.config),
      'label_names': {k: list(v) for k, v in self.label_names.items()},
      'content': self.content,
      'unlogged': [dict(row) for row in self.unlogged],
      'skipped': self.skipped,
      'multi_label': list(self.multi_label),
    }

  @classmethod
  def from_json(cls, mapping: Mapping[str, Any]) -> 'Description':
    """Undoes `to_json`; ValueError for what it did not give."""
    if not isinstance(mapping.get('config'), dict):
      raise ValueError('its description has no config')
    try:
      config = configs.from_mapping(mapping['config'])
    except UserError as error:
      raise UserError(
        f'the checkpoint of step {mapping.get("step")} is of another version '
        f'of this package ({error}) Read it with that version, or train anew.'
      ) from None
    return cls(
      config,
      dict(mapping['label_names']),
      mapping.get('content'),
      tuple(mapping.get('unlogged', ())),
      mapping.get('skipped', 0),
      tuple(mapping.get('multi_label', ())),
    )


def has_checkpoints(workdir: str | os.PathLike) -> bool:
  """Returns whether a workdir holds a finished checkpoint."""
  folders = pathlib.Path(workdir, 'checkpoints').glob('*')
  return any(folder.name.isdecimal() for folder in folders)


def steps_in(folder: pathlib.Path) -> list[int]:
  """Returns the steps of finished checkpoints, newest first."""
  names = [path.name for path in folder.glob('*')]
  return sorted((int(n) for n in names if n.isdecimal()), reverse=True)


def steps(workdir: str | os.PathLike) -> list[int]:
  """Returns the steps of a workdir's finished checkpoints, in order."""
  return steps_in(pathlib.Path(workdir, 'checkpoints'))[::-1]


def last_description(workdir: str | os.PathLike) -> Description | None:
  """Reads the newest description of a workdir that is not damaged.

  None where there is no checkpoint.

  Raises:
    UserError: all are damaged.
  """
  folder = pathlib.Path(workdir).absolute() / 'checkpoints'
  found, _ = damage.newest(
    folder, steps_in(folder), lambda s: read_json(folder, s)
  )
  return found and Description.from_json(found)


def read_json(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """Returns a checkpoint's description as JSON; Damaged where it is not so."""
  with damage.reading(folder, step):
    path = folder / str(step) / 'description' / 'metadata'
    mapping = json.loads(path.read_text('utf-8'))
    if not isinstance(mapping['config'], dict):
      raise ValueError('its description has no config')
    # Those of before had no checksums, and nothing of what came with them.
    if 'unlogged' in mapping or any(key in mapping for key in _CHECKSUMS):
      expected = mapping.pop('checksum', None)
      if expected != checksum_of_json(mapping):
        raise ValueError('its description is not what was saved')
    if mapping.get('step', step) != step:
      raise ValueError(f'it is a copy of checkpoint {mapping["step"]}')
    return mapping


def scores(folder: pathlib.Path, step: int) -> dict[str, float] | None:
  """Returns what validation gave a checkpoint; None where there was none.

  Orbax keeps it in a file without a checksum, and opens that with the folder:
  the description has it too.

  Raises:
    Damaged: the two are not the same, or cannot be read.
  """
  saved = read_json(folder, step)
  with damage.reading(folder, step):
    path = folder / str(step) / 'metrics' / 'metrics'
    there = json.loads(path.read_text('utf-8')) if path.exists() else None
    # As text, in which not-a-number is itself. Those of before have one only.
    texts = {
      json.dumps(x, sort_keys=True) for x in (there, saved.get(_SCORES, there))
    }
    if len(texts) > 1 or not isinstance(there, dict | None):
      raise ValueError('its metrics are not those that were saved')
    return there


def damaged(folder: pathlib.Path, best_metric: str) -> dict[int, Damaged]:
  """Returns the steps whose description or metrics are damaged, and why."""
  found = {}
  for step in steps_in(folder):
    try:
      there = scores(folder, step)
      with damage.reading(folder, step):
        if there is not None and not isinstance(
          there.get(best_metric), int | float
        ):
          raise ValueError(f"its metrics have no number '{best_metric}'")
    except Damaged as error:
      found[step] = error
  return found


def check_shapes(
  folder: pathlib.Path, step: int, saved: Any, expected: Any
) -> None:
  """Raises a UserError where a checkpoint is of another model.

  Args:
    folder: of checkpoints.
    step: of one of them.
    saved: tree of the shapes and types that it says it has.
    expected: tree of those that a model has.
  """
  there, here = (
    sorted(
      (x.shape, str(np.dtype(x.dtype)))
      for x in jax.tree.leaves(tree)
      if getattr(x, 'shape', ())
    )
    for tree in (dict(saved), expected)
  )
  if there != here:
    only = [x for x in there + here if (x in there) != (x in here)]
    raise UserError(
      f'checkpoint {step} in {folder} is of another model: it has '
      f'{len(there)} arrays and the model {len(here)}, and only one of them '
      f'has one of {(only or [None])[0]}. Choose another --workdir.'
    )


def check_size(folder: pathlib.Path, step: int, saved: Any) -> None:
  """Raises a ValueError for arrays far larger than the files they are in.

  Args:
    folder: of checkpoints.
    step: of one of them.
    saved: tree of the shapes and types that it says it has.
  """
  files = (folder / str(step)).rglob('*')
  there = sum(path.stat().st_size for path in files if path.is_file())
  stated = sum(
    math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
    for leaf in jax.tree.leaves(saved)
  )
  if stated > _MOST_SWELLING * there + _ALLOWANCE:
    raise ValueError(f'it states {stated} bytes of arrays, in {there} of files')


def checksum_of_json(mapping: Mapping[str, Any]) -> int:
  """Returns a CRC of a JSON object, whatever the order of its keys."""
  return zlib.crc32(json.dumps(mapping, sort_keys=True).encode())


def checksum(tree: Any) -> int:
  """Returns a CRC of all arrays, whatever the order they are held in."""
  arrays = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
  with futures.ThreadPoolExecutor(4) as pool:
    each = pool.map(lambda x: zlib.crc32(x.reshape(-1).view(np.uint8)), arrays)
    return zlib.crc32(json.dumps(sorted(each)).encode())

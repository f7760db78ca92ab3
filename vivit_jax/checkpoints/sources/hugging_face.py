"""Reads what Hugging Face puts beside weights: configs, indices of shards."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

_BESIDE = ('config.json', 'preprocessor_config.json')


def configs(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns config.json and preprocessor_config.json beside a file, or {}.

  Raises:
    UserError: a damaged JSON file.
  """
  return [_read_json(path.with_name(name)) for name in _BESIDE]


def open_index(
  path: pathlib.Path, open_file: Callable[[pathlib.Path], File]
) -> File:
  """Opens sharded weights by their index, as transformers writes it.

  The index maps each array's name to a file in its folder.

  Args:
    path: of the index.
    open_file: opens a shard.

  Raises:
    UserError: an index or shard that is damaged, a shard that is missing or
      outside the folder, or other arrays in a shard than in the index.
  """
  index = _read_json(path).get('weight_map')
  if not isinstance(index, dict) or not index:
    raise damaged(path, "it has no 'weight_map' from arrays to files")
  shards: dict[str, set[str]] = {}
  for name, shard in index.items():
    if not isinstance(shard, str) or pathlib.PurePath(shard).name != shard:
      raise UserError(
        f'{path} names the file {shard!r} for {name}; only files in its own '
        'folder are read: get the checkpoint again.'
      )
    shards.setdefault(shard, set()).add(name)
  files = [
    _open_shard(path, shard, names, open_file)
    for shard, names in sorted(shards.items())
  ]

  def load() -> dict[str, np.ndarray]:
    return {name: x for file in files for name, x in file.load().items()}

  one = files[0]
  beside = one.config, one.preprocessor
  return File(path, one.container, list(index), load, one.layout, *beside)


def _open_shard(
  index: pathlib.Path,
  name: str,
  arrays: set[str],
  open_file: Callable[[pathlib.Path], File],
) -> File:
  """Opens a shard, and checks that it has the arrays that the index states."""
  path = index.with_name(name)
  if not path.is_file():
    raise UserError(
      f'{path} is missing, but {index.name} names it: get all files of the '
      'checkpoint.'
    )
  try:
    file = open_file(path)
  except (UserError, OSError):
    raise
  except Exception as error:
    raise damaged(path, error) from None
  different = sorted(arrays.symmetric_difference(file.names))
  if different:
    only = index.name if different[0] in arrays else name
    raise UserError(
      f'{index} and {name} have different arrays ({different[0]} is only in '
      f'{only}): get all files of the checkpoint again.'
    )
  return file


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object; returns {} if the file is missing."""
  if not path.exists():
    return {}
  try:
    value = json.loads(path.read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise damaged(path, error) from None
  if not isinstance(value, dict):
    raise damaged(path, 'it is no JSON object')
  return value

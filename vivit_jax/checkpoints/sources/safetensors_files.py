"""Reads safetensors and the Hugging Face JSON files beside them."""

import json
import pathlib
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

INDEX = '.safetensors.index.json'  # end of the name of an index of shards
_BESIDE = ('config.json', 'preprocessor_config.json')


def open_file(path: pathlib.Path) -> File:
  """Opens a safetensors file, with the Hugging Face configs beside it.

  The safetensors library checks sizes before it reads.

  Raises:
    UserError: a damaged JSON file.
  """
  with safe_open(path, 'np') as tensors:
    names = list(tensors.keys())
  configs = [_read_json(path.with_name(name)) for name in _BESIDE]
  return File(path, 'safetensors', names, lambda: load_file(path), '', *configs)


def open_index(path: pathlib.Path) -> File:
  """Opens sharded safetensors by their index, as transformers writes it.

  The index maps each array's name to a file in its folder.

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
    _open_shard(path, shard, names) for shard, names in sorted(shards.items())
  ]

  def load() -> dict[str, np.ndarray]:
    return {name: x for file in files for name, x in file.load().items()}

  configs = files[0].config, files[0].preprocessor
  return File(path, 'safetensors', list(index), load, '', *configs)


def _open_shard(index: pathlib.Path, name: str, arrays: set[str]) -> File:
  """Opens a shard, and checks that it has the arrays that the index states."""
  path = index.with_name(name)
  if not path.is_file():
    raise UserError(
      f'{path} is missing, but {index.name} names it: get all files of the '
      'checkpoint.'
    )
  try:
    file = open_file(path)
  except SafetensorError as error:
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

"""Reads what Hugging Face puts beside weights: configs, indices of shards."""

import json
import pathlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

BESIDE = (
  'config.json',
  'preprocessor_config.json',
  'video_preprocessor_config.json',
)
# Names of weights, and suffixes of their shards' indices, the preferred first.
_WHOLE = ('model.safetensors', 'pytorch_model.bin')
INDICES = ('.safetensors.index.json', '.bin.index.json')


def weights_among(names: Collection[str]) -> str | None:
  """Returns the weights among a folder's files: whole, else an index."""
  for whole, index in zip(_WHOLE, INDICES):
    if whole in names:
      return whole
    indices = sorted(name for name in names if name.endswith(index))
    if indices:
      return indices[0]
  return None


def configs(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns config.json and the preprocessor's config beside a file, or {}.

  Raises:
    UserError: a damaged JSON file.
  """
  config, *pixels = (_read_json(path.with_name(name)) for name in BESIDE)
  return [config, next(filter(None, pixels), {})]


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
  files = [
    _open_shard(path, shard, names, open_file)
    for shard, names in sorted(shards(path).items())
  ]

  def load() -> dict[str, np.ndarray]:
    return {name: x for file in files for name, x in file.load().items()}

  one = files[0]
  beside = one.config, one.preprocessor
  arrays = [name for file in files for name in file.names]
  return File(path, one.container, arrays, load, one.layout, *beside)


def shards(path: pathlib.Path) -> dict[str, set[str]]:
  """Returns the files that an index names, and the arrays in each.

  Raises:
    UserError: a damaged index, or a file outside its folder.
  """
  index = _read_json(path).get('weight_map')
  if not isinstance(index, dict) or not index:
    raise damaged(path, "it has no 'weight_map' from arrays to files")
  found: dict[str, set[str]] = {}
  for name, shard in index.items():
    if not isinstance(shard, str) or pathlib.PurePath(shard).name != shard:
      raise UserError(
        f'{path} names the file {shard!r} for {name}; only files in its own '
        'folder are read: get the checkpoint again.'
      )
    found.setdefault(shard, set()).add(name)
  return found


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

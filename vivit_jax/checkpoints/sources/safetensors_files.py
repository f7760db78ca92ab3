"""Reads safetensors and the Hugging Face JSON files beside them."""

import json
import pathlib
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load_file

from vivit_jax.errors import damaged
from vivit_jax.models.weights import File

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

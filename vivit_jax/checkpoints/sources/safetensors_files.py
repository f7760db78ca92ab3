"""Reads safetensors and the Hugging Face JSON files beside them."""

import json
import pathlib
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load_file

from vivit_jax.errors import damaged
from vivit_jax.models.weights import File

_MAX_JSON = 100 << 20  # bytes
_BESIDE = ('config.json', 'preprocessor_config.json')


def open_file(path: pathlib.Path) -> File:
  """Opens a safetensors file, with the Hugging Face configs beside it.

  The safetensors library checks sizes before it reads.

  Raises:
    UserError: a file that is truncated, or has wrong sizes in its header.
  """
  try:
    with safe_open(path, 'np') as tensors:
      names = list(tensors.keys())
  except Exception as error:
    raise damaged(path, error) from None

  def load():
    try:
      return load_file(path)
    except Exception as error:
      raise damaged(path, error) from None

  paths = [path.with_name(name) for name in _BESIDE]
  configs = [_read_json(path) if path.exists() else {} for path in paths]
  return File(path, 'safetensors', names, load, '', *configs)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object."""
  try:
    if path.stat().st_size > _MAX_JSON:
      raise damaged(path, 'it is too large')
    value = json.loads(path.read_text('utf-8'))
  except (OSError, ValueError, RecursionError) as error:
    raise damaged(path, error) from None
  if not isinstance(value, dict):
    raise damaged(path, 'it is no JSON object')
  return value

"""safetensors, with Hugging Face's JSON beside them; it knows no model."""

import json
import pathlib
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from vivit_jax.errors import damaged
from vivit_jax.models.weights import File

_MOST_JSON = 100 << 20  # bytes
_BESIDE = ('config.json', 'preprocessor_config.json')
_SAFETENSORS_ERRORS = (
  SafetensorError,
  ValueError,
  TypeError,
  KeyError,
  OSError,
)


def open_file(path: pathlib.Path) -> File:
  """Opens safetensors, with Hugging Face's configs if they are beside it.

  The library checks sizes before it reads.

  Raises:
    UserError: a file that is cut off, or lies about its sizes.
  """
  try:
    with safe_open(path, 'np') as tensors:
      found = list(tensors.keys())
  except _SAFETENSORS_ERRORS as error:
    raise damaged(path, error) from None

  def load():
    try:
      return load_file(path)
    except _SAFETENSORS_ERRORS as error:
      raise damaged(path, error) from None

  beside = [path.with_name(name) for name in _BESIDE]
  configs = [read_json(other) if other.exists() else {} for other in beside]
  return File(path, 'safetensors', found, load, '', *configs)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object."""
  try:
    if path.stat().st_size > _MOST_JSON:
      raise damaged(path, 'it is too large')
    value = json.loads(path.read_text('utf-8'))
  except (OSError, ValueError, RecursionError) as error:
    raise damaged(path, error) from None
  if not isinstance(value, dict):
    raise damaged(path, 'it is no JSON object')
  return value

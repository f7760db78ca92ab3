"""Converts nested parameters to flat names and back."""

from collections.abc import Iterator, Mapping
from typing import Any

import flax
import numpy as np

from vivit_jax.errors import UserError

_MAX_DEPTH = 20


def flatten(tree: Any, prefix: str = '') -> Iterator[tuple[str, np.ndarray]]:
  """Yields ('a/b/c', array) for the leaves of nested dicts.

  Raises:
    UserError: a key contains a /, or the tree has too many levels.
  """
  if prefix.count('/') > _MAX_DEPTH:
    raise UserError('the checkpoint is nested too deeply to hold parameters.')
  for key, value in tree.items():
    if '/' in str(key):
      raise UserError(f"the checkpoint has a key with a /: '{key}'.")
    if isinstance(value, dict):
      yield from flatten(value, f'{prefix}{key}/')
    elif value is not None:
      yield f'{prefix}{key}', np.asarray(value)


def unflatten(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns nested dicts: {'a/b': x} -> {'a': {'b': x}}."""
  return flax.traverse_util.unflatten_dict(dict(arrays), sep='/')

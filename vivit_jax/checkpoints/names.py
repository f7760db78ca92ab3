"""Converts nested parameters to flat names and back."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util


def flatten(tree: Any) -> dict[str, np.ndarray]:
  """Returns host arrays by flat name: {'a': {'b': x}} -> {'a/b': x}."""
  flat = traverse_util.flatten_dict(tree, sep='/')
  return {name: np.asarray(x) for name, x in flat.items() if x is not None}


def unflatten(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns nested dicts: {'a/b': x} -> {'a': {'b': x}}."""
  return traverse_util.unflatten_dict(dict(arrays), sep='/')


def digest(tree: Any) -> str:
  """Returns the SHA-256 of the parameters' names, dtypes, shapes and bytes."""
  total = hashlib.sha256()
  for name, array in sorted(flatten(tree).items()):
    total.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
    total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
  return total.hexdigest()

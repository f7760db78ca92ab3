"""Converts nested parameters to flat names and back."""

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

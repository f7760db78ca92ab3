"""Reads the trainer's YAML in checkpoints of SlowFast and its descendants."""

import math
from typing import Any

import yaml

from vivit_jax.errors import damaged
from vivit_jax.models.weights import File

_NUMBERS = {'NUM_FRAMES': 1, 'SAMPLING_RATE': 1, 'MEAN': 3, 'STD': 3}


def data_of(file: File) -> dict[str, Any]:
  """Returns the numbers of section DATA in the trainer's YAML, if any.

  Raises:
    UserError: text that is no YAML, or has other values.
  """
  try:
    tree = yaml.safe_load(file.extras.get('cfg', ''))
  except (yaml.YAMLError, RecursionError) as error:
    raise damaged(
      file.path, f'cfg is no YAML: {type(error).__name__}'
    ) from None
  section = tree.get('DATA') if isinstance(tree, dict) else None
  known = {}
  for key, count in _NUMBERS.items():
    if not isinstance(section, dict) or key not in section:
      continue
    value = section[key]
    values = value if isinstance(value, list) else [value]
    good = len(values) == count and all(
      type(x) in (int, float) and 0 < x < math.inf for x in values
    )
    if not good or (count == 1 and type(value) is not int):
      raise damaged(file.path, f'DATA.{key} of its cfg is {str(value)[:50]}')
    known[key] = value
  return known


def pixels(data: dict[str, Any]) -> dict[str, tuple[float, ...]]:
  """Returns mean and std of config section `data`, as far as they are known."""
  names = {'MEAN': 'mean', 'STD': 'std'}
  return {names[key]: tuple(x) for key, x in data.items() if key in names}

"""Layers one by one, as on disk, or stacked, as `Options.scan` wants them.

An encoder's blocks are `encoderblock_0`, `encoderblock_1`, ... in the
reference's names; stacked, one `encoderblock` whose arrays have a leading axis
of layers. `unstack` and `stack` go through any tree of dicts, tuples, lists and
dataclasses, a training state for one, and leave everything else as it is.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

_STACKED = 'encoderblock'
_ONE = re.compile(rf'{_STACKED}_(\d+)')


def unstack(tree: Any) -> Any:
  """Returns the tree with blocks one by one: [L, ...] -> L times [...]."""
  return _walk(tree, _unstack_dict)


def stack(tree: Any) -> Any:
  """Returns the tree with blocks stacked: L times [...] -> [L, ...]."""
  return _walk(tree, _stack_dict)


def is_stacked(path: Sequence[str]) -> bool:
  """Returns whether the array at a path of keys has an axis of layers."""
  return _STACKED in path


def block_number(key: str) -> int | None:
  """Returns the number of a block by its key: 0 of stacked ones, else None."""
  match = _ONE.fullmatch(key)
  return int(match[1]) if match else 0 if key == _STACKED else None


def depth(encoder: dict) -> int:
  """Returns how many blocks an encoder's parameters are of."""
  if _STACKED in encoder:
    return jax.tree.leaves(encoder[_STACKED])[0].shape[0]
  return sum(block_number(key) is not None for key in encoder)


def names(path: Sequence[str], shape: Sequence[int]) -> list[str]:
  """Returns an array's names on disk: several where layers are stacked."""
  if not is_stacked(path):
    return ['/'.join(path)]
  return [
    '/'.join(f'{key}_{layer}' if key == _STACKED else key for key in path)
    for layer in range(shape[0])
  ]


def _walk(tree: Any, change: Callable[[dict], dict]) -> Any:
  if isinstance(tree, dict):
    return change({key: _walk(value, change) for key, value in tree.items()})
  if dataclasses.is_dataclass(tree) and not jax.tree_util.all_leaves([tree]):
    fields = [field.name for field in dataclasses.fields(tree)]
    return dataclasses.replace(
      tree, **{name: _walk(getattr(tree, name), change) for name in fields}
    )
  if isinstance(tree, tuple) and hasattr(tree, '_fields'):
    return type(tree)(*(_walk(value, change) for value in tree))
  if isinstance(tree, tuple | list):
    return type(tree)(_walk(value, change) for value in tree)
  return tree


def _unstack_dict(tree: dict) -> dict:
  if not isinstance(tree.get(_STACKED), dict):
    return tree
  stacked = tree[_STACKED]
  layers = jax.tree.leaves(stacked)[0].shape[0]
  rest = {key: value for key, value in tree.items() if key != _STACKED}
  return rest | {
    f'{_STACKED}_{layer}': jax.tree.map(lambda x, i=layer: _take(x, i), stacked)
    for layer in range(layers)
  }


def _take(x: Any, layer: int) -> Any:
  """Returns a layer's array, or its shape where there is no more than that."""
  if isinstance(x, jax.ShapeDtypeStruct):
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
  return x[layer]


def _stack_dict(tree: dict) -> dict:
  numbers = sorted(
    int(match[1]) for key in tree if (match := _ONE.fullmatch(str(key)))
  )
  if not numbers:
    return tree
  blocks = [tree[f'{_STACKED}_{number}'] for number in numbers]
  rest = {k: v for k, v in tree.items() if not _ONE.fullmatch(str(k))}
  return rest | {_STACKED: jax.tree.map(lambda *x: np.stack(x), *blocks)}

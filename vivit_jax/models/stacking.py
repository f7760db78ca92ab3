"""Converts blocks between unstacked (as on disk) and stacked (model.scan).

Unstacked blocks are `encoderblock_0`, `encoderblock_1`, ..., as in the
reference. Stacked, they are one `encoderblock` whose arrays have a leading
layer axis. `unstack` and `stack` traverse any tree of dicts, tuples, lists and
dataclasses, such as a training state, and leave other values unchanged.
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
  """Returns the tree with blocks unstacked: [L, ...] -> L times [...]."""
  return _walk(tree, _unstack_dict)


def stack(tree: Any) -> Any:
  """Returns the tree with blocks stacked: L times [...] -> [L, ...]."""
  return _walk(tree, _stack_dict)


def is_stacked(path: Sequence[str]) -> bool:
  """Returns whether the array at a path of keys has a layer axis."""
  return _STACKED in path


def names(path: Sequence[str], shape: Sequence[int]) -> list[str]:
  """Returns the unstacked names of an array: one per layer if stacked."""
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
  """Returns one layer of an array or ShapeDtypeStruct."""
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

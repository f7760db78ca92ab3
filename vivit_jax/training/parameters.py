"""What training does to a parameter by its name: decay, rates, freezing.

Names are those of checkpoints, 'SpatialTransformer/encoderblock_3/...', whether
a model's layers are stacked (`models.stacking`) or not.
"""

import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vivit_jax.errors import UserError, nearest
from vivit_jax.models import stacking

_ENCODERS = ('Transformer', 'SpatialTransformer', 'TemporalTransformer')


def decayed(params: Any) -> dict:
  """Returns a tree of bools: True for kernels, which weight decay shrinks.

  Biases, norms, positions and class tokens are left alone.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )


def each_layer(function: Any, first: Any, *others: Any) -> Any:
  """Maps a function of one layer's arrays over trees of parameters.

  What is computed of a whole array, its norm for one, is thus the same whether
  layers are stacked or not.

  Args:
    function: arrays -> an array, of the same leaf of each tree.
    first, others: trees of dicts.
  """

  def call(path, *leaves):
    stacked = stacking.is_stacked([part.key for part in path])
    return (jax.vmap(function) if stacked else function)(*leaves)

  return jax.tree_util.tree_map_with_path(call, first, *others)


def frozen(params: Any, pattern: str) -> dict:
  """Returns a tree of bools: True where the pattern is found in the name.

  Args:
    params: arrays or their shapes.
    pattern: a regular expression, anywhere in the name ('^' for its start).

  Raises:
    UserError: a pattern that is found nowhere, or everywhere, or in some of the
      layers that are stacked in one array.
  """
  flat = traverse_util.flatten_dict(params)
  found = {}
  for path, x in flat.items():
    names = stacking.names(path, x.shape)
    matches = [name for name in names if re.search(pattern, name)]
    if 0 < len(matches) < len(names):
      other = next(name for name in names if name not in matches)
      raise UserError(
        f"optim.freeze is '{pattern}', which matches {matches[0]} but not "
        f'{other}, and model.scan stacks them: set --config.model.scan=False.'
      )
    found[path] = bool(matches)
  if not any(found.values()):
    names = [
      n for path, x in flat.items() for n in stacking.names(path, x.shape)
    ]
    parts = ', '.join(sorted({path[0] for path in flat}))
    raise UserError(
      f"optim.freeze is '{pattern}', which matches no parameter: write a "
      f'regular expression for names that begin with {parts}.'
      f'{nearest(pattern.strip("^$/"), _beginnings(names))}'
    )
  if all(found.values()):
    raise UserError(
      f"optim.freeze is '{pattern}', which matches every parameter, "
      f'{stacking.names(*_first(flat))[0]} too: leave some to train.'
    )
  return traverse_util.unflatten_dict(found)


def _beginnings(names: Iterable[str]) -> list[str]:
  """Returns the parts of names, and what names begin with, up to a '/'."""
  found = {}
  for name in names:
    parts = name.split('/')
    found |= dict.fromkeys(parts)
    found |= dict.fromkeys('/'.join(parts[:n]) for n in range(2, len(parts)))
  return list(found)


def _first(flat: dict) -> tuple[tuple[str, ...], tuple[int, ...]]:
  path, x = next(iter(flat.items()))
  return path, x.shape


def without(tree: dict, left_out: dict) -> dict:
  """Returns nested dicts without the leaves that `left_out` has True for."""
  leave = traverse_util.flatten_dict(left_out)
  flat = traverse_util.flatten_dict(tree)
  return traverse_util.unflatten_dict(
    {path: x for path, x in flat.items() if not leave[path]}
  )


def with_zeros(tree: dict, whole: dict) -> dict:
  """Returns the tree with zeros for the leaves that only `whole` has."""
  flat = traverse_util.flatten_dict(tree)
  every = traverse_util.flatten_dict(whole)
  return traverse_util.unflatten_dict(
    {
      path: flat.get(path, np.zeros(x.shape, x.dtype))
      for path, x in every.items()
    }
  )


def stop_frozen(params: Any, pattern: str | None) -> Any:
  """Returns the parameters, those of the pattern without a gradient."""
  if pattern is None:
    return params
  return jax.tree.map(
    lambda x, stop: jax.lax.stop_gradient(x) if stop else x,
    params,
    frozen(params, pattern),
  )


def layer_scales(params: Any, decay: float) -> dict:
  """Returns what the learning rate of each parameter is multiplied with.

  That is decay to the power of L + 1 - l: the embedding, class token and
  positions are layer 0, block l of L is layer l, the head and what is before it
  are layer L + 1 (BEiT, arXiv 2106.08254; MAE, arXiv 2111.06377). The blocks of
  a factorised encoder are counted through, the temporal ones after the spatial
  ones; an encoder's class token and positions are of the layer before its first
  block, its norm of the layer after its last one.

  Args:
    params: arrays or their shapes.
    decay: above 0; 1 for the same rate everywhere.

  Returns:
    A tree of floats; of stacked layers, float32 [L, 1, ...].
  """
  depths = {
    name: stacking.depth(params[name]) for name in _ENCODERS if name in params
  }
  blocks = sum(depths.values())
  before, first = {}, 0
  for name, depth in depths.items():
    before[name] = first
    first += depth

  def scale(path, x):
    keys = [part.key for part in path]
    layer = _layer(keys, before, depths, blocks)
    if not stacking.is_stacked(keys):
      return decay ** (blocks + 1 - layer)
    layers = layer + np.arange(x.shape[0])
    scales = np.float32(decay) ** (blocks + 1 - layers)
    return scales.astype(np.float32).reshape(-1, *[1] * (len(x.shape) - 1))

  return jax.tree_util.tree_map_with_path(scale, params)


def _layer(
  keys: list[str], before: dict[str, int], depths: dict[str, int], blocks: int
) -> int:
  """Returns the layer of a parameter; of stacked ones, the first's.

  Args:
    keys: the parts of its name.
    before: blocks before each encoder.
    depths: blocks of each encoder.
    blocks: of all encoders.
  """
  top = keys[0]
  if top in before:
    number = stacking.block_number(keys[1])
    if number is not None:
      return before[top] + number + 1
    return before[top] + (depths[top] + 1 if keys[1] == 'encoder_norm' else 0)
  if top == 'embedding' or top == 'cls':
    return 0
  if top.startswith('cls_'):
    return before[top.removeprefix('cls_')]
  return blocks + 1

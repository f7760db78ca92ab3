"""What training does to a parameter by its name: decay, rates, freezing.

Names are those of checkpoints, 'encoderblock_3' of a stack, whether a model's
layers are stacked (`models.stacking`) or not.
"""

import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vivit_jax.config import OptimConfig
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import builder, stacking
from vivit_jax.models.family import ModelConfig


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


def learned(params: Any, config: OptimConfig) -> dict:
  """Returns a tree of bools: True for the parameters that training changes.

  Those that `config.train` matches, if it is given, and `config.freeze` does
  not. A pattern is a regular expression found anywhere in the name ('^' for its
  start).

  Args:
    params: arrays or their shapes.
    config: the patterns.

  Raises:
    UserError: a pattern that is found nowhere, or in some of the layers that
      are stacked in one array; or nothing left to learn.
  """
  flat = traverse_util.flatten_dict(params)
  taken = dict.fromkeys(flat, True)
  if config.train is not None:
    taken = _matches(flat, 'train', config.train)
  if config.freeze is not None:
    frozen = _matches(flat, 'freeze', config.freeze)
    taken = {path: taken[path] and not frozen[path] for path in flat}
  if not any(taken.values()):
    raise UserError(
      f"optim.train is '{config.train}' and optim.freeze is '{config.freeze}', "
      'which leave no parameter to train: change one of them.'
    )
  return traverse_util.unflatten_dict(taken)


def _matches(
  flat: dict[tuple[str, ...], Any], key: str, pattern: str
) -> dict[tuple[str, ...], bool]:
  """Returns whether a pattern is found in the name of each parameter."""
  found = {}
  for path, x in flat.items():
    names = stacking.names(path, x.shape)
    matches = [name for name in names if re.search(pattern, name)]
    if 0 < len(matches) < len(names):
      other = next(name for name in names if name not in matches)
      raise UserError(
        f"optim.{key} is '{pattern}', which matches {matches[0]} but not "
        f'{other}, and model.scan stacks them: set --config.model.scan=False.'
      )
    found[path] = bool(matches)
  if not any(found.values()):
    names = [
      n for path, x in flat.items() for n in stacking.names(path, x.shape)
    ]
    parts = ', '.join(sorted({path[0] for path in flat}))
    raise UserError(
      f"optim.{key} is '{pattern}', which matches no parameter: write a "
      f'regular expression for names that begin with {parts}.'
      f'{nearest(pattern.strip("^$/"), _beginnings(names))}'
    )
  return found


def _beginnings(names: Iterable[str]) -> list[str]:
  """Returns the parts of names, and what names begin with, up to a '/'."""
  found = {}
  for name in names:
    parts = name.split('/')
    found |= dict.fromkeys(parts)
    found |= dict.fromkeys('/'.join(parts[:n]) for n in range(2, len(parts)))
  return list(found)


def select(tree: dict, chosen: dict) -> dict:
  """Returns nested dicts with those leaves alone that `chosen` has True for."""
  of = traverse_util.flatten_dict(chosen)
  flat = traverse_util.flatten_dict(tree)
  return traverse_util.unflatten_dict(
    {path: x for path, x in flat.items() if of[path]}
  )


def replaced(whole: dict, part: dict) -> dict:
  """Returns `whole` with the leaves that `part` has in their stead."""
  flat = traverse_util.flatten_dict(whole)
  return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(part))


def frozen_modules(chosen: dict, shapes: dict) -> frozenset[str]:
  """Returns the names of modules of which no parameter learns.

  Args:
    chosen: as `learned` returns it.
    shapes: of the same parameters.
  """
  learns: dict[str, bool] = {}
  flat = traverse_util.flatten_dict(shapes)
  for path, value in traverse_util.flatten_dict(chosen).items():
    for name in stacking.names(path, flat[path].shape):
      parts = name.split('/')
      for end in range(1, len(parts)):
        module = '/'.join(parts[:end])
        learns[module] = learns.get(module, False) or value
  return frozenset(
    module for module, any_learns in learns.items() if not any_learns
  )


def layer_scales(params: Any, decay: float, model: ModelConfig) -> dict:
  """Returns what the learning rate of each parameter is multiplied with.

  That is decay to the power of L + 1 - l: the embedding, class token and
  positions are layer 0, block l of L is layer l, the head and what is before it
  are layer L + 1 (BEiT, arXiv 2106.08254; MAE, arXiv 2111.06377). The family
  says which layer a parameter is of (`Family.layers`).

  Args:
    params: arrays or their shapes.
    decay: above 0; 1 for the same rate everywhere.
    model: the config of the model.

  Returns:
    A tree of floats; of stacked layers, float32 [L, 1, ...].

  Raises:
    UserError: a parameter that no rule of the family names.
  """
  layer_of, last = builder.layer_of(model)

  def scale(path, x):
    keys = [part.key for part in path]
    layers = [layer_of(name) for name in stacking.names(keys, x.shape)]
    if not stacking.is_stacked(keys):
      return decay ** (last - layers[0])
    scales = np.float32(decay) ** (last - np.array(layers))
    return scales.astype(np.float32).reshape(-1, *[1] * (len(x.shape) - 1))

  return jax.tree_util.tree_map_with_path(scale, params)

"""Parameters with weight decay, frozen, or with layer-wise learning rates.

They are selected by names as in checkpoints, such as `encoderblock_3`, even if
the model stacks its layers (`models.stacking`).
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vivit_jax.config import OptimConfig
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import builder, classifier, stacking
from vivit_jax.models.family import ModelConfig

_POSITIONS = re.compile('pos_?emb|position|rel_pos|relative|bias_table')


def decay_mask(params: Any, on: str = 'kernels') -> dict:
  """Returns a tree of bools: True for parameters with weight decay.

  Args:
    params: arrays or their shapes.
    on: a value of `OptimConfig.weight_decay_on`. Names decide, as stacked and
      attention biases have several axes. A position table's name contains
      'pos_emb', 'posembed', 'position', 'rel_pos', 'relative' or 'bias_table'.
  """

  def decays(path: Sequence[Any], _: Any) -> bool:
    *modules, name = [part.key for part in path]
    norm = bool(modules) and 'norm' in modules[-1].lower()
    match on:
      case 'kernels':
        return name == 'kernel'
      case 'matrices':
        return name not in ('bias', 'scale')
      case 'not_norms':
        is_table = any(_POSITIONS.search(key) for key in (*modules, name))
        return not (name == 'scale' or (norm and name == 'bias') or is_table)
    return True

  return jax.tree_util.tree_map_with_path(decays, params)


def map_layers(function: Any, first: Any, *others: Any) -> Any:
  """Maps a function over trees of parameters, layer by layer if stacked.

  So a result that depends on a whole array, such as its norm, is the same for
  stacked and separate layers.
  """

  def call(path, *leaves):
    stacked = stacking.is_stacked([part.key for part in path])
    return (jax.vmap(function) if stacked else function)(*leaves)

  return jax.tree_util.tree_map_with_path(call, first, *others)


def trainable(params: Any, config: OptimConfig) -> dict:
  """Returns a tree of bools: True for the parameters that training changes.

  Their names match `config.train` (if it is not None) and do not match
  `config.freeze`. Patterns are regular expressions that may match anywhere in
  the name; '^' is its start. `params` are arrays or their shapes.

  Raises:
    UserError: a pattern matches nothing, or only some of the layers stacked in
      one array; or no parameter is trainable.
  """
  flat = traverse_util.flatten_dict(params)
  chosen = dict.fromkeys(flat, True)
  if config.train is not None:
    chosen = _matches(flat, 'train', config.train)
  if config.freeze is not None:
    frozen = _matches(flat, 'freeze', config.freeze)
    chosen = {path: chosen[path] and not frozen[path] for path in flat}
  if not any(chosen.values()):
    raise UserError(
      f"optim.train '{config.train}' and optim.freeze '{config.freeze}' leave "
      'no parameter to train: change one of them.'
    )
  return traverse_util.unflatten_dict(chosen)


def _matches(
  flat: dict[tuple[str, ...], Any], key: str, pattern: str
) -> dict[tuple[str, ...], bool]:
  """Returns whether the pattern of a config key matches each parameter."""
  result = {}
  for path, x in flat.items():
    names = stacking.names(path, x.shape)
    matches = [name for name in names if re.search(pattern, name)]
    if 0 < len(matches) < len(names):
      other = next(name for name in names if name not in matches)
      raise UserError(
        f"optim.{key} is '{pattern}', which matches {matches[0]} but not "
        f'{other}, and model.scan stacks them: set --config.model.scan=False.'
      )
    result[path] = bool(matches)
  if not any(result.values()):
    every = [stacking.names(path, x.shape) for path, x in flat.items()]
    parts = {part for names in every for n in names for part in n.split('/')}
    first = ', '.join(sorted({path[0] for path in flat}))
    raise UserError(
      f"optim.{key} is '{pattern}', which matches no parameter: write a "
      f'regular expression for names that begin with {first}.'
      f'{nearest(pattern.strip("^$/"), sorted(parts))}'
    )
  return result


def select(tree: dict, mask: dict) -> dict:
  """Returns the leaves for which `mask` is True, as nested dicts."""
  keep = traverse_util.flatten_dict(mask)
  flat = traverse_util.flatten_dict(tree)
  return traverse_util.unflatten_dict(
    {path: x for path, x in flat.items() if keep[path]}
  )


def merge(whole: dict, part: dict) -> dict:
  """Returns `whole`, with leaves replaced by those of `part`."""
  flat = traverse_util.flatten_dict(whole)
  return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(part))


def frozen_modules(mask: dict, shapes: dict) -> frozenset[str]:
  """Returns the names of modules without a trainable parameter.

  Args:
    mask: from `trainable`.
    shapes: the same parameters, or their shapes.
  """
  learns: dict[str, bool] = {}
  flat = traverse_util.flatten_dict(shapes)
  for path, value in traverse_util.flatten_dict(mask).items():
    for name in stacking.names(path, flat[path].shape):
      parts = name.split('/')
      for end in range(1, len(parts)):
        module = '/'.join(parts[:end])
        learns[module] = learns.get(module, False) or value
  return frozenset(module for module, value in learns.items() if not value)


def layer_scales(params: Any, decay: float, model: ModelConfig) -> dict:
  """Returns the learning rate factors of layer-wise decay.

  The factor for layer l is decay ** (L + 1 - l). The embedding, class token and
  positions are layer 0, block l of L is layer l, and heads and pools are layer
  L + 1 (BEiT, arXiv 2106.08254; MAE, arXiv 2111.06377). The model's family
  assigns parameters to layers (`Family.layers`).

  Args:
    params: arrays or their shapes.
    decay: above 0; with 1, all factors are 1.
    model: the model's config.

  Returns:
    A tree of floats; for stacked layers, arrays float32 [layers, 1, ...].

  Raises:
    UserError: a parameter that no rule of the family matches.
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


def backbone_scales(params: Any, rate: float) -> dict:
  """Returns a tree of floats: `rate`, but 1 outside the backbone."""

  def scale(path: Sequence[Any], _: Any) -> float:
    return 1.0 if classifier.is_own(path[0].key) else rate

  return jax.tree_util.tree_map_with_path(scale, params)

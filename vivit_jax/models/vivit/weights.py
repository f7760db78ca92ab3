"""ViViT's weights: scenic files, initialisation from images, resizing."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.models import image_vit, resize
from vivit_jax.models.family import Import, Resized, Resizing, Target
from vivit_jax.models.image_vit import POSITIONS
from vivit_jax.models.weights import IMAGE_VIT, File, Weights

Arrays = Mapping[str, np.ndarray]
# (pattern, replacement): names of an image ViT -> names of Models 2 and 3.
TO_FACTORISED_ENCODER = (
  (r'^Transformer/', 'SpatialTransformer/'),
  (r'^cls$', 'cls_SpatialTransformer'),
)
_BLOCK = r'^(Transformer/encoderblock_\d+)'
TO_FACTORISED_SELF_ATTENTION = (
  (f'{_BLOCK}/LayerNorm_0', r'\1/LayerNorm_space'),
  (f'{_BLOCK}/LayerNorm_1', r'\1/LayerNorm_mlp'),
  (f'{_BLOCK}/MlpBlock_0', r'\1/MlpBlock'),
  (
    f'{_BLOCK}/MultiHeadDotProductAttention_0',
    r'\1/MultiHeadDotProductAttention_space',
  ),
)
_AMBIGUOUS = (
  'Model 1 without class token and Model 4 have the same arrays; '
  'model.family decides'
)
# The reference's order. The arrays of Models 3 and 4 do not show it.
_ORDER = {'order': 'time_space'}


def renaming(rules: tuple[tuple[str, str], ...]):
  """Returns a function that renames an image ViT's arrays for a family."""

  def rename(arrays: Arrays, target: Target) -> Arrays:
    del target
    renamed = {}
    for name, array in arrays.items():
      for pattern, ours in rules:
        name = re.sub(pattern, ours, name)
      renamed[name] = array
    return renamed

  return rename


def read_scenic(file: File) -> Weights:
  """Reads scenic's msgpack, which has this package's parameter names.

  A kernel with four axes belongs to an image ViT or to a ViViT with uniform
  frame sampling. The names of Models 2 and 3 show a ViViT; otherwise the
  target's `embedding` decides (`Weights.readings`).
  """
  arrays = file.load()
  models = _models(arrays)
  weights = Weights(
    f'scenic, flax msgpack ({file.layout})',
    arrays,
    models,
    options=_ORDER,
    notes=(_AMBIGUOUS,) if len(models) > 1 else (),
  )
  kernel = arrays['embedding/kernel']
  if kernel.ndim == 4:
    frames = {'embedding': 'uniform_frames'}
    image = dataclasses.replace(
      weights, models=(IMAGE_VIT,), options={}, notes=()
    )
    weights = dataclasses.replace(
      weights,
      arrays={**arrays, 'embedding/kernel': kernel[None]},
      options=_ORDER | frames,
    )
    if models[0] in ('joint', 'factorised_dot_product'):
      weights = dataclasses.replace(image, readings=((frames, weights),))
  return image_vit.checked(weights, file)


def _models(arrays: Arrays) -> tuple[str, ...]:
  """Returns the families whose parameters can have these names."""
  if any(name.startswith('SpatialTransformer/') for name in arrays):
    return ('factorised_encoder',)
  if any('LayerNorm_time/' in name for name in arrays):
    return ('factorised_self_attention',)
  # Model 4 has Model 1's names, but no class token.
  if 'cls' in arrays:
    return ('joint',)
  return ('joint', 'factorised_dot_product')


SCENIC = Import(
  lambda file: file.container == 'msgpack' and 'embedding/kernel' in file.names,
  read_scenic,
)


def write_scenic(weights: Weights, clip: Any) -> dict[str, Any]:
  """Returns the arrays for scenic, unchanged; see `Family.exports`.

  Raises:
    UserError: options that scenic does not support, or damaged weights.
  """
  del clip
  image_vit.check_blocks(weights.arrays)
  options = weights.options
  if (options.get('gelu'), options.get('norm_epsilon')) not in (
    ('tanh', 1e-6),
    (None, None),
  ):
    raise UserError(
      f"scenic has model.options.gelu 'tanh' and norm_epsilon 1e-6, these "
      f"weights '{options.get('gelu')}' and {options.get('norm_epsilon')}: "
      'they cannot be converted.'
    )
  if options.get('order') == 'space_time':
    raise UserError(
      f"scenic's {weights.title} has model.options.order 'time_space', these "
      "weights 'space_time': they cannot be converted."
    )
  return {'arrays': weights.arrays}


def resize_positions(array: Resizing) -> Resized:
  """Resizes or repeats the positions of an encoder; `Family.resize`."""
  encoder, target, source = array.name.split('/')[0], array.target, array.source
  grid, in_time = target.grid, encoder == 'TemporalTransformer'
  image = IMAGE_VIT in source.models
  in_space = image or encoder == 'SpatialTransformer'
  if encoder == 'SpatialTransformer':
    grid = (1, *grid[1:])
  elif in_time:
    grid = (grid[0], 1, 1)
  theirs = source.arrays['embedding/kernel'].shape[:-2]
  grids = resize.PositionGrids(
    grid=grid,
    guess=resize.same_clip(grid, _kernel(target.model.options), theirs),
    has_token=_has_token(encoder, source.arrays),
    stored=source.grid,
    in_space=in_space,
    in_time=in_time,
  )
  return resize.positions(array, grids)


def _kernel(options: Any) -> tuple[int, int, int]:
  """Returns frames, height and width of the model's embedding kernel."""
  frames, *patch = options.tubelet
  frames = 1 if options.embedding == 'uniform_frames' else frames
  return frames, *patch


def _has_token(encoder: str, arrays: Arrays) -> bool:
  if encoder == 'Transformer':
    return 'cls' in arrays
  spatial = encoder == 'SpatialTransformer'
  return f'cls_{encoder}' in arrays or (spatial and 'cls' in arrays)


RESIZE = (
  (f'.*{POSITIONS}', resize_positions),
  ('embedding/kernel', resize.tubelet_kernel),
)


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del initial
  image = not {'factorised_encoder', 'factorised_self_attention'} & {
    *source.models
  }
  temporal = image_vit.depths(source.arrays).get('TemporalTransformer', 0)
  if 'TemporalTransformer' in name and image:
    return 'the checkpoint has no temporal encoder'
  if 'TemporalTransformer' in name and not temporal:
    return 'the checkpoint averages over time'
  if image and re.search(r'(LayerNorm|Attention)_time/', name):
    return 'the checkpoint has no temporal attention'
  if match := re.match(r'TemporalTransformer/encoderblock_(\d+)/', name):
    if int(match[1]) >= temporal:
      return 'the checkpoint has fewer temporal layers'
  if name == 'cls' or name.startswith('cls_'):
    return 'the checkpoint has no class token'
  if name.endswith(POSITIONS) and not _has_positions(source.arrays):
    return 'the checkpoint has no learned positions'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source
  if name.startswith('pooler/'):
    return 'the model has no representation layer'
  if name.startswith('cls'):
    return 'the model has no such class token'
  if name.startswith('TemporalTransformer/'):
    mine = image_vit.depths(initial).get('TemporalTransformer', 0)
    match = re.match(r'TemporalTransformer/encoderblock_(\d+)/', name)
    if not mine:
      return 'the model averages over time'
    if match and int(match[1]) >= mine:
      return 'the model has fewer temporal layers'
  if name.endswith(POSITIONS) and not _has_positions(initial):
    return 'the model has no learned positions'
  return None


def _has_positions(arrays: Arrays) -> bool:
  return any(name.endswith(POSITIONS) for name in arrays)

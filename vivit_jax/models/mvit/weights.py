"""MViT's weights: what their shapes state, start from images, resizing."""

import math
import re
from collections.abc import Mapping

import einops
import numpy as np

from vivit_jax.models import resize
from vivit_jax.models.family import Resized, Resizing
from vivit_jax.models.mvit import layout
from vivit_jax.models.weights import Weights

Arrays = Mapping[str, np.ndarray]
IMAGE_MVIT = 'image MViT v2'  # of `Weights.models`
ATTENTION = 'Transformer/encoderblock_{}/PoolingAttention_0'
SPACE = 'Transformer/posembed_input/space_embedding'
TIME = 'Transformer/posembed_input/time_embedding'
_POOL = '.*/pool_[qkv]/kernel'
_TABLE = '.*/rel_pos_[thw]'


def version_of(arrays: Arrays) -> int:
  """Returns the version of MViT that these arrays belong to."""
  return 2 if any(re.fullmatch(_TABLE, name) for name in arrays) else 1


def size_of(arrays: Arrays) -> layout.Size:
  """Returns the sizes of the network that these arrays belong to.

  Raises:
    KeyError: an array or a whole block is missing.
  """
  blocks = {re.sub(r'(encoderblock_\d+)/.*', r'\1', name) for name in arrays}
  depth = sum('encoderblock_' in name for name in blocks)
  for layer in range(depth):
    if (block := f'Transformer/encoderblock_{layer}') not in blocks:
      raise KeyError(block)
  mark = 'Transformer/encoderblock_{}/projection/kernel'
  if version_of(arrays) == 1:
    mark = f'{ATTENTION}/pool_q/kernel'
  first, last = (
    arrays.get(f'{ATTENTION.format(layer)}/pool_k/kernel')
    for layer in (0, depth - 1)
  )
  kernels = 'stride'
  if first is not None and {*first.shape[:-2]} == {3}:
    kernels = 'cube_strided' if last is None else 'cube'
  query = arrays[f'{ATTENTION.format(0)}/query/kernel']
  return layout.Size(
    depth,
    query.shape[1],
    arrays['embedding/kernel'].shape[-1],
    tuple(i for i in range(depth) if mark.format(i) in arrays),
    kernels,
  )


def clip_of(arrays: Arrays) -> tuple[int, int] | None:
  """Returns frames and crop of the clips whose positions these are.

  None for image models, and for positions that are no square grid.
  """
  block = ATTENTION.format(0)
  if SPACE in arrays and TIME in arrays:
    t, count = arrays[TIME].shape[1], arrays[SPACE].shape[1]
    side = math.isqrt(count)
    if side**2 != count:
      return None
  elif f'{block}/rel_pos_t' in arrays and f'{block}/rel_pos_h' in arrays:
    t, side = (
      (len(arrays[f'{block}/rel_pos_{axis}']) + 1) // 2 for axis in 'th'
    )
  else:
    return None
  return layout.STEM_STRIDE[0] * t, layout.STEM_STRIDE[1] * side


def infer_sizes(arrays: Arrays) -> dict[str, object]:
  """Returns option -> size; `Family.infer_sizes`."""
  return dict(vars(size_of(arrays)))


def describe(arrays: Arrays) -> dict[str, str]:
  """Returns version, sizes and clip; `Family.describe`."""
  size, clip = size_of(arrays), clip_of(arrays)
  last = 2 ** len(size.stages)
  stages = ', '.join(map(str, size.stages))
  return {
    'version': f'{version_of(arrays)}',
    'blocks': f'{size.layers}; stages begin at 0, {stages}',
    'width': f'{size.width} to {size.width * last}',
    'attention heads': f'{size.attention_heads} to '
    f'{size.attention_heads * last}',
    'pooling kernels': size.kernels,
    'clip': f'{clip[0]} frames of {clip[1]} pixels' if clip else 'not stated',
  }


def repeat_kernel(array: Resizing) -> Resized:
  """Repeats an image model's convolution over time, as in the official code.

  Not divided by the number of frames.
  """
  value, frames = array.value, array.initial.shape[0]
  if value.ndim != 4:
    return value, ''
  how = f'repeated over {frames} frames, not divided'
  return np.repeat(value[None], frames, axis=0), how


def resize_table(array: Resizing) -> Resized:
  """Interpolates a table of relative positions linearly, as SlowFast does."""
  return _linear(array, 0)


def resize_time(array: Resizing) -> Resized:
  """Interpolates positions in time [1, t, D] linearly."""
  return _linear(array, 1)


def _linear(array: Resizing, axis: int) -> Resized:
  value, size = array.value, array.initial.shape[axis]
  if value.ndim != array.initial.ndim or value.shape[axis] == size:
    return value, ''
  how = f'{value.shape[axis]} -> {size} rows, linearly'
  return resize.interpolate(value, axis, size, 'linear'), how


def resize_space(array: Resizing) -> Resized:
  """Interpolates positions in space [1, h w, D] bicubically.

  From the grid that the checkpoint states, else a square one.

  Raises:
    UserError: the source's grid is unknown; see `resize.grid_of`.
  """
  value = array.value
  if value.ndim != 3:
    return None, ''
  _, h, w = array.target.grid
  grids = resize.PositionGrids(
    (1, h, w), (1, h, w), False, array.source.grid, in_space=True
  )
  _, *theirs = resize.grid_of(value.shape[1], array.name, grids)
  if theirs == [h, w]:
    return value, ''
  x = einops.rearrange(value, '1 (h w) D -> h w D', h=theirs[0])
  x = resize.interpolate(resize.interpolate(x, 0, h, 'cubic'), 1, w, 'cubic')
  how = f'{theirs[0]} x {theirs[1]} -> {h} x {w}, bicubically'
  return einops.rearrange(x, 'h w D -> 1 (h w) D'), how


RESIZE = (
  (f'embedding/kernel|{_POOL}', repeat_kernel),
  (_TABLE, resize_table),
  (TIME, resize_time),
  (SPACE, resize_space),
)


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del initial
  if name.endswith('/rel_pos_t') and IMAGE_MVIT in source.models:
    return 'the checkpoint has no positions in time'
  if _is_class_token(name) and 'cls' not in source.arrays:
    return 'the checkpoint has no class token'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source
  if _is_class_token(name) and 'cls' not in initial:
    return 'the model has no class token'
  return None


def _is_class_token(name: str) -> bool:
  return name == 'cls' or name.endswith('/cls_embedding')

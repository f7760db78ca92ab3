"""Kernels and positions in the shape of another model (paper, section 3.4)."""

import math
import re
from collections.abc import Mapping

import einops
import jax
import numpy as np

from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError
from vivit_jax.models.positions import resize_positions

Grid = tuple[int, int, int]
_FLAG = "as --config.init_grid='(frames, height, width)' in tokens"
# An array in the model's shape and how it came to it, '' for as it was; or None
# where nothing explains the shape.
Fitted = tuple[np.ndarray | None, str]


def kernel_of(found: np.ndarray, start: np.ndarray, kernel: str) -> Fitted:
  """Makes a tubelet's kernel of an image's, or of another tubelet's."""
  if found.shape[-2:] != start.shape[-2:]:
    return None, ''
  how = []
  image = found.ndim == 4
  value = found[None] if image else found
  old, new = value.shape[1:3], start.shape[1:3]
  if old != new:
    shape = (value.shape[0], *new, *value.shape[3:])
    scale = (old[0] * old[1]) / (new[0] * new[1])
    value = np.asarray(jax.image.resize(value, shape, 'linear')) * scale
    how.append(f'patch {old} -> {new}, linearly')
  frames = start.shape[0]
  if image and kernel == 'inflation':
    value = np.repeat(value, frames, axis=0) / frames
    how.append(f'inflated over {frames} frames')
  elif image:
    centre = np.zeros((frames, *value.shape[1:]), np.float32)
    centre[frames // 2] = value[0]
    value = centre
    how.append(f'in the central one of {frames} frames')
  elif value.shape[0] != frames:
    old_frames = value.shape[0]
    shape = (frames, *value.shape[1:])
    # A still clip gives the same tokens as before.
    total = value.sum(axis=0)
    value = np.asarray(
      jax.image.resize(value, shape, 'linear', antialias=False)
    )
    value = value + (total - value.sum(axis=0)) / frames
    how.append(f'{old_frames} -> {frames} frames, linearly')
  return value.astype(np.float32), ', '.join(how)


def positions_of(
  name: str,
  found: np.ndarray,
  start: np.ndarray,
  grid: Grid,
  tubelet: Grid,
  source: Weights,
) -> Fitted:
  """Repeats or resizes positions; a class token's comes or goes with it.

  Args:
    name: of the positions.
    found: the source's, [1, N, D].
    start: the model's own.
    grid: t, h and w of the model's tokens.
    tubelet: of the model: frames, height and width.
    source: they are of.

  Raises:
    UserError: nothing tells the source's grid, or it does not fit.
  """
  if found.shape[-1] != start.shape[-1]:
    return None, ''
  mine = grid
  if name.startswith('SpatialTransformer'):
    mine = (1, *grid[1:])
  elif name.startswith('TemporalTransformer'):
    mine = (grid[0], 1, 1)
  has_token = _has_token(name, found.shape[1], source)
  token, rest = np.split(found, [int(has_token)], axis=1)
  how = []
  same_clip = _same_clip(mine, tubelet, source)
  theirs = _grid_of(rest.shape[1], same_clip, name, source)
  if theirs[1:] != mine[1:]:
    old, new = (f'{h} x {w}' for _, h, w in (theirs, mine))
    rest = resize_positions(rest, theirs, (theirs[0], *mine[1:]))
    how.append(f'{old} -> {new}, linearly')
  if source.is_image and mine[0] > 1:
    rest = einops.repeat(rest, '1 s D -> 1 (t s) D', t=mine[0])
    how.append(f'repeated {mine[0]} times')
  elif theirs[0] != mine[0]:
    rest = resize_positions(rest, (theirs[0], *mine[1:]), mine)
    how.append(f'{theirs[0]} -> {mine[0]} temporal indices, linearly')
  wants_token = start.shape[1] > rest.shape[1]
  if wants_token and not has_token:
    token = np.zeros_like(rest[:, :1])
    how.append('with zero for the class token')
  if has_token and not wants_token:
    token = token[:, :0]
    how.append("without the class token's")
  value = np.concatenate([token, rest], axis=1)
  return value, ', '.join(how)


def _has_token(name: str, count: int, source: Weights) -> bool:
  encoder = name.split('/')[0]
  token = {
    'SpatialTransformer': 'cls_SpatialTransformer',
    'TemporalTransformer': 'cls_TemporalTransformer',
  }.get(encoder, 'cls')
  own = source.arrays
  return token in own or (encoder == 'SpatialTransformer' and 'cls' in own)


def _same_clip(mine: Grid, tubelet: Grid, source: Weights) -> Grid:
  """Returns the grid of the model's own clip in the source's tubelets."""
  theirs = source.arrays['embedding/kernel'].shape[:-2]
  theirs = theirs if len(theirs) == 3 else (tubelet[0], *theirs)
  # A side of 1 is of one encoder alone: frame by frame, or time alone.
  t, h, w = (
    side if side == 1 else side * ours // part
    for side, ours, part in zip(mine, tubelet, theirs)
  )
  return t, h, w


def _grid_of(count: int, mine: Grid, name: str, source: Weights) -> Grid:
  """Returns the grid of `count` positions, as the source tells, or concluded.

  Concluded where one grid alone will do: that of the model's own clip in the
  source's tubelets, or in space, of images and of Model 2, a square. A wrong
  one would scramble the positions in silence.

  Args:
    count: of positions.
    mine: the model's own grid, in tubelets of the source.
    name: of the positions, for errors.
    source: tells its grid, or does not.

  Raises:
    UserError: a grid that does not fit, or more than one that may.
  """
  if name.startswith('TemporalTransformer'):
    return (count, 1, 1)
  in_space = source.is_image or name.startswith('SpatialTransformer')
  if source.grid is not None:
    told = (1, *source.grid[1:]) if in_space else source.grid
    if math.prod(told) == count:
      return told
    raise UserError(
      f'{name} has {count} positions, and the grid {_say(told)} that is told '
      f'has {math.prod(told)}: tell the grid of the weights, {_FLAG}.'
    )
  square = math.isqrt(count)
  may_be = set()
  if in_space:
    if square**2 == count:
      may_be.add((1, square, square))
    if mine[1] * mine[2] == count:
      may_be.add((1, *mine[1:]))
  elif math.prod(mine) == count:
    may_be.add(mine)
  if len(may_be) == 1:
    return may_be.pop()
  guesses = sorted(may_be) or [
    (count // side**2, side, side)
    for side in range(square, 1, -1)
    if count % side**2 == 0
  ]
  among = f', perhaps {", ".join(map(_say, guesses[:6]))}' if guesses else ''
  raise UserError(
    f'{name} has {count} positions, and nothing tells of which grid'
    f'{among}: tell it, {_FLAG}.'
  )


def _say(grid: Grid) -> str:
  return ' x '.join(map(str, grid))


def other_sizes(
  arrays: Mapping[str, np.ndarray], fresh: Mapping[str, np.ndarray]
) -> list[str]:
  """Returns in words what of a model's size is another in a checkpoint.

  Args:
    arrays: of the checkpoint, in the model's names.
    fresh: of the model.
  """
  there, wanted = _sizes(arrays), _sizes(fresh)
  return [
    f'{what} {there[what]} (the model {wanted[what]})'
    for what in there
    if what in wanted and there[what] != wanted[what]
  ]


def _sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns the numbers of layers, and of what is in one, in words."""
  found: dict[str, int] = {}
  for name, array in arrays.items():
    block = re.match(r'(\w*)Transformer/encoderblock_(\d+)/', name)
    if block:
      what = f'{block[1].lower()} layers'.strip()
      found[what] = max(found.get(what, 0), int(block[2]) + 1)
    if name == 'embedding/kernel':
      found['width'] = array.shape[-1]
    elif name.endswith('/query/kernel'):
      found['heads of attention'] = array.shape[1]
    elif name.endswith('/MlpBlock_0/Dense_0/kernel'):
      found['MLP width'] = array.shape[1]
  return found

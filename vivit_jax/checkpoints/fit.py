"""Kernels and positions in the shape of another model (paper, section 3.4)."""

import einops
import jax
import numpy as np

from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError
from vivit_jax.models.positions import resize_positions

Grid = tuple[int, int, int]
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
  source: Weights,
) -> Fitted:
  """Repeats or resizes positions; a class token's comes or goes with it."""
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
  theirs = _grid_of(rest.shape[1], mine, name, source)
  if theirs is None:
    tokens = f'{mine[0]} x {mine[1]} x {mine[2]} tokens'
    told = source.grid and ' x '.join(map(str, source.grid))
    why = (
      f'which are not of the grid {told} that is told'
      if told
      else f'and no grid, or more than one, of so many fits {tokens}'
    )
    raise UserError(
      f'{name} has {rest.shape[1]} positions, {why}: tell the grid of the '
      "weights by --config.init_grid='(frames, height, width)', in tokens."
    )
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


def _grid_of(count: int, mine: Grid, name: str, source: Weights) -> Grid | None:
  """Returns the grid of `count` positions, as the source tells, or guessed.

  Guessed are the model's own, and square ones; either the place or the time of
  the model's own grid is taken to be the source's too.
  """
  image = source.is_image
  t, h, w = mine
  if name.startswith('TemporalTransformer'):
    return (count, 1, 1)
  if source.grid is not None:
    frames, *place = source.grid
    one_frame = image or name.startswith('SpatialTransformer')
    told = (1 if one_frame else frames, *place)
    return told if int(np.prod(told)) == count else None
  square = int(np.sqrt(count))
  if image or name.startswith('SpatialTransformer'):
    if count == h * w:
      return (1, h, w)
    return (1, square, square) if square**2 == count else None
  if count == t * h * w:
    return mine
  square = int(np.sqrt(count // t))
  guesses = {
    *([(count // (h * w), h, w)] if count % (h * w) == 0 else []),
    *([(t, square, square)] if t * square**2 == count else []),
  }
  # Two that fit are no better than none: a wrong one would scramble in silence.
  return guesses.pop() if len(guesses) == 1 else None

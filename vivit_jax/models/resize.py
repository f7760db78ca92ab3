"""Resizes kernels and positions to another model (paper, section 3.4).

Families call these functions, which know no parameter names.
"""

import dataclasses
import math

import einops
import jax
import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.models.family import Grid, Resized, Resizing
from vivit_jax.models.positions import resize_positions

_FLAG = "--config.init_grid='(frames, height, width)', in tokens"


def tubelet_kernel(array: Resizing) -> Resized:
  """Converts a kernel to the target's tubelet kernel [t, p, q, C, D].

  An image kernel, [p, q, C, D] or of one frame, becomes the central frame, is
  inflated, or is left out for a random one. If the patch size differs, the
  kernel is interpolated and rescaled. If the number of frames differs, it is
  interpolated such that tokens of still clips stay equal.
  """
  value, initial = array.value, array.initial
  if value.shape[-2:] != initial.shape[-2:] or value.ndim not in (4, 5):
    return None, ''
  how, frames = [], initial.shape[0]
  value = value[None] if value.ndim == 4 else value
  image = len(value) == 1 and (frames > 1 or array.value.ndim == 4)
  if image and array.target.kernel == 'random':
    return initial, 'kept random'
  old, new = value.shape[1:3], initial.shape[1:3]
  if old != new:
    shape = (value.shape[0], *new, *value.shape[3:])
    scale = (old[0] * old[1]) / (new[0] * new[1])
    value = np.asarray(jax.image.resize(value, shape, 'linear')) * scale
    how.append(f'patch {old} -> {new}, linearly')
  if image and array.target.kernel == 'inflation':
    value = np.repeat(value, frames, axis=0) / frames
    how.append(f'inflated over {frames} frames')
  elif image:
    centre = np.zeros((frames, *value.shape[1:]), np.float32)
    centre[frames // 2] = value[0]
    value = centre
    how.append(f'in the central frame of {frames}')
  elif value.shape[0] != frames:
    old_frames = value.shape[0]
    shape = (frames, *value.shape[1:])
    total = value.sum(axis=0)
    value = np.asarray(
      jax.image.resize(value, shape, 'linear', antialias=False)
    )
    value = value + (total - value.sum(axis=0)) / frames
    how.append(f'{old_frames} -> {frames} frames, linearly')
  return value.astype(np.float32), ', '.join(how)


@dataclasses.dataclass(frozen=True)
class PositionGrids:
  """Token grids before and after resizing learned positions.

  Attributes:
    grid: the target's (t, h, w); 1 along an axis without positions.
    guess: grid of the target's clip with the source's tubelets.
    has_token: whether the source's first position is for a class token.
    stored: the source's grid as the checkpoint or the user states it, or None.
    in_space: whether the source's positions are only spatial.
    in_time: whether the source's positions are only temporal.
  """

  grid: Grid
  guess: Grid
  has_token: bool
  stored: Grid | None = None
  in_space: bool = False
  in_time: bool = False


def positions(array: Resizing, grids: PositionGrids) -> Resized:
  """Returns positions [1, N, D] resized or repeated for the target's grid.

  Adds or drops the class token's position if the target requires it.

  Args:
    array: positions [1, N, D].
    grids: of source and target.

  Raises:
    UserError: the source's grid is unknown or does not fit.
  """
  value, initial, grid = array.value, array.initial, grids.grid
  if value.ndim != 3 or value.shape[-1] != initial.shape[-1]:
    return None, ''
  token, rest = np.split(value, [int(grids.has_token)], axis=1)
  how = []
  theirs = grid_of(rest.shape[1], array.name, grids)
  if theirs[1:] != grid[1:]:
    old, new = (f'{h} x {w}' for _, h, w in (theirs, grid))
    rest = resize_positions(rest, theirs, (theirs[0], *grid[1:]))
    how.append(f'{old} -> {new}, linearly')
  if grids.in_space and grid[0] > 1:
    rest = einops.repeat(rest, '1 s D -> 1 (t s) D', t=grid[0])
    how.append(f'repeated {grid[0]} times')
  elif theirs[0] != grid[0]:
    rest = resize_positions(rest, (theirs[0], *grid[1:]), grid)
    how.append(f'{theirs[0]} -> {grid[0]} temporal indices, linearly')
  needs_token = initial.shape[1] > rest.shape[1]
  if needs_token and not grids.has_token:
    token = np.zeros_like(rest[:, :1])
    how.append('zero for the class token')
  if grids.has_token and not needs_token:
    token = token[:, :0]
    how.append('without the class token')
  return np.concatenate([token, rest], axis=1), ', '.join(how)


def grid_of(count: int, name: str, grids: PositionGrids) -> Grid:
  """Returns the source's grid: the stated one, or the only plausible one.

  Two grids are plausible: `grids.guess` and, for spatial positions, a square. A
  wrong grid would scramble positions silently.

  Args:
    count: number of positions, without a class token.
    name: parameter name, for errors.
    grids: of source and target.

  Raises:
    UserError: the stated grid does not fit, or no or several grids are
      plausible.
  """
  if grids.in_time:
    return (count, 1, 1)
  if grids.stored is not None:
    stored = (1, *grids.stored[1:]) if grids.in_space else grids.stored
    if math.prod(stored) == count:
      return stored
    raise UserError(
      f'{name} has {count} positions, but the grid {_text(stored)} has '
      f"{math.prod(stored)}: set the weights' grid, {_FLAG}."
    )
  square = math.isqrt(count)
  plausible = set()
  if grids.in_space:
    if square**2 == count:
      plausible.add((1, square, square))
    if grids.guess[1] * grids.guess[2] == count:
      plausible.add((1, *grids.guess[1:]))
  elif math.prod(grids.guess) == count:
    plausible.add(grids.guess)
  if len(plausible) == 1:
    return plausible.pop()
  candidates = sorted(plausible) or [
    (count // side**2, side, side)
    for side in range(square, 1, -1)
    if count % side**2 == 0
  ]
  perhaps = ', '.join(map(_text, candidates[:6]))
  raise UserError(
    f'{name} has {count} positions of an unknown grid'
    f'{f", perhaps {perhaps}" if perhaps else ""}: set it, {_FLAG}.'
  )


def interpolate(
  value: np.ndarray, axis: int, size: int, kind: str
) -> np.ndarray:
  """Returns an array with another size along an axis, as torch interpolates.

  Entries are centres of pixels; there is no antialiasing, and edges repeat.

  Args:
    value: the array.
    axis: to resize.
    size: new length of the axis.
    kind: 'linear', or 'cubic' (a = -0.75).
  """
  old = value.shape[axis]
  centres = (np.arange(size) + 0.5) * old / size - 0.5
  base = np.floor(centres).astype(int)
  weights = np.zeros((size, old))
  for tap in (0, 1) if kind == 'linear' else (-1, 0, 1, 2):
    x = np.abs(centres - (base + tap))
    weight = 1 - x
    if kind == 'cubic':
      near = (1.25 * x - 2.25) * x * x + 1
      far = -0.75 * (((x - 5) * x + 8) * x - 4)
      weight = np.where(x <= 1, near, far)
    index = np.clip(base + tap, 0, old - 1)
    np.add.at(weights, (np.arange(size), index), weight)
  moved = np.tensordot(weights, value, (1, axis))
  return np.moveaxis(moved, 0, axis).astype(value.dtype)


def split_heads(array: Resizing) -> Resized:
  """Splits the one head of an attention layer into those of the target.

  For sources with `Weights.heads_unknown`.
  """
  value, initial = array.value, array.initial
  if array.source.heads_unknown and value.size == initial.size:
    value = value.reshape(initial.shape)  # heads precede their entries
  return value, ''


def same_clip(grid: Grid, tubelet: Grid, theirs: tuple[int, ...]) -> Grid:
  """Returns the grid of the target's clip with the source's tubelets.

  Args:
    grid: the target's (t, h, w); 1 along an axis without positions.
    tubelet: the target's tubelet: frames, height and width in pixels.
    theirs: the source's tubelet, or the height and width of its patch.
  """
  theirs = theirs if len(theirs) == 3 else (tubelet[0], *theirs)
  t, h, w = (
    side if side == 1 else side * ours // part
    for side, ours, part in zip(grid, tubelet, theirs)
  )
  return t, h, w


def _text(grid: Grid) -> str:
  return ' x '.join(map(str, grid))

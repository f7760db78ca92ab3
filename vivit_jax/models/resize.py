"""Kernels and positions in the shape of another model (paper, section 3.4).

Functions that families call with their own grids; no parameter name is here.
"""

import dataclasses
import math

import einops
import jax
import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.models.family import Grid, Resized, Resizing
from vivit_jax.models.positions import resize_positions

_FLAG = "as --config.init_grid='(frames, height, width)' in tokens"


def tubelet_kernel(array: Resizing) -> Resized:
  """Makes a tubelet's kernel [t, p, q, C, D] of an image's, or another's.

  An image's kernel [p, q, C, D] goes into the central frame, or is inflated;
  another patch size is interpolated and rescaled; another number of frames is
  interpolated so that a still clip gives the same tokens as before.
  """
  found, start = array.found, array.start
  if found.shape[-2:] != start.shape[-2:] or found.ndim not in (4, 5):
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
  if image and array.target.kernel == 'inflation':
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


@dataclasses.dataclass(frozen=True)
class Table:
  """Learned positions of a checkpoint, and the grid that they are needed for.

  Attributes:
    grid: t, h and w of the model's tokens that the table is added to; 1 along
      an axis that it does not distinguish.
    guess: the same clip's grid in tubelets of the source.
    has_token: whether the source's first position is a class token's.
    stored: grid that the checkpoint or the user states, or None.
    in_space: whether the source's table distinguishes places alone.
    in_time: whether the source's table distinguishes temporal indices alone.
  """

  grid: Grid
  guess: Grid
  has_token: bool
  stored: Grid | None = None
  in_space: bool = False
  in_time: bool = False


def positions(array: Resizing, table: Table) -> Resized:
  """Repeats or resizes positions; a class token's comes or goes with it.

  Args:
    array: positions [1, N, D].
    table: what they are for.

  Raises:
    UserError: nothing says which grid the source's are for, or it does not
      fit.
  """
  found, start, grid = array.found, array.start, table.grid
  if found.ndim != 3 or found.shape[-1] != start.shape[-1]:
    return None, ''
  token, rest = np.split(found, [int(table.has_token)], axis=1)
  how = []
  theirs = grid_of(rest.shape[1], array.name, table)
  if theirs[1:] != grid[1:]:
    old, new = (f'{h} x {w}' for _, h, w in (theirs, grid))
    rest = resize_positions(rest, theirs, (theirs[0], *grid[1:]))
    how.append(f'{old} -> {new}, linearly')
  if table.in_space and grid[0] > 1:
    rest = einops.repeat(rest, '1 s D -> 1 (t s) D', t=grid[0])
    how.append(f'repeated {grid[0]} times')
  elif theirs[0] != grid[0]:
    rest = resize_positions(rest, (theirs[0], *grid[1:]), grid)
    how.append(f'{theirs[0]} -> {grid[0]} temporal indices, linearly')
  wants_token = start.shape[1] > rest.shape[1]
  if wants_token and not table.has_token:
    token = np.zeros_like(rest[:, :1])
    how.append('with zero for the class token')
  if table.has_token and not wants_token:
    token = token[:, :0]
    how.append("without the class token's")
  return np.concatenate([token, rest], axis=1), ', '.join(how)


def grid_of(count: int, name: str, table: Table) -> Grid:
  """Returns the grid of `count` positions: stated, or the only one possible.

  Possible are that of the model's own clip in the source's tubelets and, in
  space alone, a square. A wrong one would scramble positions silently.

  Args:
    count: of positions, class token excluded.
    name: of the positions, for errors.
    table: what they are for.

  Raises:
    UserError: a grid that does not fit, or more than one that may.
  """
  if table.in_time:
    return (count, 1, 1)
  if table.stored is not None:
    stored = (1, *table.stored[1:]) if table.in_space else table.stored
    if math.prod(stored) == count:
      return stored
    raise UserError(
      f'{name} has {count} positions, and the grid {_text(stored)} that is '
      f'given has {math.prod(stored)}: give the grid of the weights, {_FLAG}.'
    )
  square = math.isqrt(count)
  may_be = set()
  if table.in_space:
    if square**2 == count:
      may_be.add((1, square, square))
    if table.guess[1] * table.guess[2] == count:
      may_be.add((1, *table.guess[1:]))
  elif math.prod(table.guess) == count:
    may_be.add(table.guess)
  if len(may_be) == 1:
    return may_be.pop()
  guesses = sorted(may_be) or [
    (count // side**2, side, side)
    for side in range(square, 1, -1)
    if count % side**2 == 0
  ]
  among = f', perhaps {", ".join(map(_text, guesses[:6]))}' if guesses else ''
  raise UserError(
    f'{name} has {count} positions, and the checkpoint does not say of which '
    f'grid{among}: give it, {_FLAG}.'
  )


def same_clip(grid: Grid, tubelet: Grid, theirs: tuple[int, ...]) -> Grid:
  """Returns the grid of the model's own clip in the source's tubelets.

  Args:
    grid: t, h and w of the model's tokens. A side of 1 is of one encoder
      alone: frame by frame, or time alone.
    tubelet: of the model: frames, height and width.
    theirs: of the source: the same, or height and width of a patch.
  """
  theirs = theirs if len(theirs) == 3 else (tubelet[0], *theirs)
  t, h, w = (
    side if side == 1 else side * ours // part
    for side, ours, part in zip(grid, tubelet, theirs)
  )
  return t, h, w


def _text(grid: Grid) -> str:
  return ' x '.join(map(str, grid))

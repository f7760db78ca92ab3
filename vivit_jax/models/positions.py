"""Position embeddings, learned or sinusoidal, and their resizing."""

import math

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Values of the config key model.options.positions.
POSITIONS = ('learned', 'sinusoidal_1d', 'sinusoidal_3d', 'none')
_TEMPERATURE = 10_000.0


class AddPositions(nn.Module):
  """Adds a position embedding to each token of a sequence [B, N, D].

  Attributes:
    kind: one of `POSITIONS`, or 'interleaved': see `interleaved`.
    grid: token grid (t, h, w). If N is t h w + 1, the first token is a class
      token; it has a learned position, but no sinusoidal one.
    table: grid of the learned parameter, which is resized to `grid` in each
      call, with antialiasing (VideoPrism, whose initial values it has). None:
      `grid`.
  """

  kind: str
  grid: tuple[int, int, int]
  table: tuple[int, int, int] | None = None

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    """Returns [B, N, D]."""
    _, count, width = x_BxNxD.shape
    if self.kind == 'learned' and self.table:
      positions = self._resized(width)
    elif self.kind == 'learned':
      positions = self.param(
        'pos_embedding', nn.initializers.normal(0.02), (1, count, width)
      )
    elif self.kind == 'none':
      return x_BxNxD
    else:
      axes, whole = self.grid, int(np.prod(self.grid))
      if self.kind == 'sinusoidal_1d':
        axes = (whole,)
      if self.kind == 'interleaved':
        fixed = interleaved(whole, width)
      else:
        fixed = sinusoids(axes, width)
      class_token = np.zeros((count - len(fixed), width), np.float32)
      positions = jnp.asarray(np.concatenate([class_token, fixed]))[None]
    return x_BxNxD + positions.astype(x_BxNxD.dtype)

  def _resized(self, width: int) -> jax.Array:
    """Returns the table for the grid, [1, N, D]."""
    positions = self.param(
      'pos_embedding',
      nn.initializers.lecun_normal(),
      (1, math.prod(self.table), width),
    )
    x = positions.reshape(*self.table, width)
    for axis, (old, new) in enumerate(zip(self.table, self.grid)):
      if old != new:
        matrix = triangles(old, new)
        x = jnp.tensordot(matrix, x, (1, axis), precision='highest')
        x = jnp.moveaxis(x, 0, axis)
    return x.reshape(1, -1, width)


def triangles(old: int, new: int) -> np.ndarray:
  """Returns a matrix that resizes an axis linearly, float32 [new, old].

  With antialiasing: to shrink, the triangle is as wide as the step between the
  new entries. As `jax.image.resize`, but a constant, which all exports have.
  """
  step = old / new
  centres = (np.arange(new)[:, None] + 0.5) * step - 0.5
  distance = np.abs(np.arange(old) - centres) / max(step, 1)
  weights = np.maximum(0, 1 - distance)
  return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def sinusoids(axes: tuple[int, ...], width: int) -> np.ndarray:
  """Returns sinusoidal positions of a grid (Vaswani et al., arXiv 1706.03762).

  Each axis gets an equal share of the channels, half sines and half cosines,
  with wavelengths from 2 pi to 10,000 * 2 pi. Remaining channels are zero.

  Args:
    axes: lengths of the grid's axes.
    width: D.

  Returns:
    float32 [product of axes, D]; the index along the last axis varies fastest.
  """
  share = width // (2 * len(axes))
  frequencies = _TEMPERATURE ** -(np.arange(share) / max(share, 1))
  parts = []
  for coordinate in np.indices(axes):
    angles = coordinate.reshape(-1, 1) * frequencies
    parts += [np.sin(angles), np.cos(angles)]
  positions = np.concatenate(parts, axis=1)
  rest = np.zeros((len(positions), width - positions.shape[1]))
  return np.concatenate([positions, rest], axis=1).astype(np.float32)


def interleaved(count: int, width: int) -> np.ndarray:
  """Returns sinusoidal positions of a sequence, float32 [count, D].

  Channels 2 i and 2 i + 1 are sine and cosine of one angle, as in VideoMAE;
  `sinusoids` has all sines before all cosines.
  """
  channel = np.arange(width)
  wavelengths = _TEMPERATURE ** (2 * (channel // 2) / width)
  angles = np.arange(count)[:, None] / wavelengths
  positions = np.where(channel % 2, np.cos(angles), np.sin(angles))
  return positions.astype(np.float32)


def resize_positions(
  positions: np.ndarray,
  old_grid: tuple[int, int, int],
  new_grid: tuple[int, int, int],
) -> np.ndarray:
  """Resizes learned positions to another token grid.

  Interpolates linearly without antialiasing, first in space, then in time.

  Args:
    positions: [1, N, D].
    old_grid, new_grid: token grids (t, h, w).

  Returns:
    float32 [1, N', D].

  Raises:
    ValueError: N is not the product of `old_grid`.
  """
  if positions.shape[1] != math.prod(old_grid):
    raise ValueError(
      f'{positions.shape[1]} positions do not fit the grid {old_grid}'
    )
  t, h, w = old_grid
  grid = einops.rearrange(
    np.asarray(positions, np.float32),
    '1 (t h w) D -> t h w D',
    t=t,
    h=h,
    w=w,
  )
  width = grid.shape[-1]
  for shape in ((t, *new_grid[1:], width), (*new_grid, width)):
    if grid.shape != shape:
      grid = jax.image.resize(grid, shape, 'linear', antialias=False)
  return einops.rearrange(np.asarray(grid), 't h w D -> 1 (t h w) D')

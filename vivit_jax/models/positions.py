"""Where a token is: learned or sinusoidal positions, and their resizing."""

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# The values of the config key model.positions.
POSITIONS = ('learned', 'sinusoidal_1d', 'sinusoidal_3d', 'none')
_TEMPERATURE = 10_000.0


class AddPositions(nn.Module):
  """Adds a position to each token of a sequence [B, N, D].

  Attributes:
    kind: one of `POSITIONS`.
    grid: the tokens' t, h and w. A sequence that is one longer begins with a
      class token, which has a learned position of its own, or none.
  """

  kind: str
  grid: tuple[int, int, int]

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    """Returns [B, N, D]."""
    _, count, width = x_BxNxD.shape
    if self.kind == 'learned':
      positions = self.param(
        'pos_embedding', nn.initializers.normal(0.02), (1, count, width)
      )
    elif self.kind == 'none':
      return x_BxNxD
    else:
      axes = self.grid
      if self.kind == 'sinusoidal_1d':
        axes = (int(np.prod(self.grid)),)
      fixed = sinusoids(axes, width)
      class_token = np.zeros((count - len(fixed), width), np.float32)
      positions = jnp.asarray(np.concatenate([class_token, fixed]))[None]
    return x_BxNxD + positions.astype(x_BxNxD.dtype)


def sinusoids(axes: tuple[int, ...], width: int) -> np.ndarray:
  """Returns fixed positions of a grid (Vaswani et al., arXiv 1706.03762).

  The width is shared evenly by the axes, and by sine and cosine of each at
  wavelengths from 2 pi to 10,000 times that; what cannot be shared is zero.

  Args:
    axes: lengths of the grid's axes.
    width: D.

  Returns:
    float32 [product of axes, D], the last axis running fastest.
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


def resize_positions(
  positions: np.ndarray,
  old_grid: tuple[int, int, int],
  new_grid: tuple[int, int, int],
) -> np.ndarray:
  """Resizes learned positions to another grid of tokens.

  Space and time are interpolated one after the other, linearly, without
  antialiasing, as the field does for image models. The position of a class
  token stays.

  Args:
    positions: [1, N, D], N the product of `old_grid`, or one more.
    old_grid: t, h and w that the positions are for.
    new_grid: t, h and w that they shall be for.

  Returns:
    float32 [1, N', D].

  Raises:
    ValueError: positions that do not fit the old grid.
  """
  count = int(np.prod(old_grid))
  extra = positions.shape[1] - count
  if extra not in (0, 1):
    raise ValueError(
      f'{positions.shape[1]} positions are not of a grid {old_grid}'
    )
  class_token, grid = np.split(np.asarray(positions, np.float32), [extra], 1)
  t, h, w = old_grid
  grid = einops.rearrange(grid[0], '(t h w) D -> t h w D', t=t, h=h, w=w)
  width = grid.shape[-1]
  for shape in (
    (t, *new_grid[1:], width),
    (*new_grid, width),
  ):
    if grid.shape != shape:
      grid = jax.image.resize(grid, shape, 'linear', antialias=False)
  grid = einops.rearrange(np.asarray(grid), 't h w D -> 1 (t h w) D')
  return np.concatenate([class_token, grid], axis=1)

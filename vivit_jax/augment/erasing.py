"""Random erasing of one clip (Zhong et al., arXiv 1708.04896)."""

import functools
import math

import jax
import jax.numpy as jnp

from vivit_jax.augment.boxes import box_mask

AREA = (0.02, 1 / 3)  # of the box, as parts of the picture
ASPECT = (0.3, 3.3)  # of the box, height by width
_TRIES = 10  # boxes drawn until one fits, as in timm


def erase(clip: jax.Array, key: jax.Array, fill: str = 'noise') -> jax.Array:
  """Fills a random box of a clip [T, H, W, C], the same in all frames.

  Areas are drawn evenly and aspects evenly in their logarithm, as in timm. A
  clip stays as it is where none of 10 boxes fits into it.

  Args:
    clip: float, normalised.
    key: of this clip.
    fill: 'noise', which has mean 0 and deviation 1 in each pixel and is the
      same in all frames, or 'mean', the 0 of normalised pixels.
  """
  where, noise = jax.random.split(key)
  inside_HxWx1 = _erased_box(where, clip.shape[1:3])[..., None]
  if fill == 'noise':
    filling = jax.random.normal(noise, clip.shape[1:], clip.dtype)
  else:
    filling = jnp.zeros(clip.shape[1:], clip.dtype)
  return jnp.where(inside_HxWx1, filling, clip)


def _erased_box(key: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Returns bool [H, W], true in the first box out of 10 that fits, if any."""
  height, width = size
  area_key, aspect_key, top_key, left_key = jax.random.split(key, 4)
  draw = functools.partial(jax.random.uniform, shape=(_TRIES,))
  area = height * width * draw(area_key, minval=AREA[0], maxval=AREA[1])
  low, high = (math.log(value) for value in ASPECT)
  aspect = jnp.exp(draw(aspect_key, minval=low, maxval=high))
  rows = jnp.round(jnp.sqrt(area * aspect))
  columns = jnp.round(jnp.sqrt(area / aspect))
  fits = (rows < height) & (columns < width)
  first = jnp.argmax(fits)
  rows, columns = rows[first], columns[first]
  top = jnp.floor(draw(top_key)[0] * (height - rows + 1))
  left = jnp.floor(draw(left_key)[0] * (width - columns + 1))
  return fits[first] & box_mask(size, top, left, top + rows, left + columns)

"""Random erasing (Zhong et al., arXiv 1708.04896)."""

import functools
import math

import jax
import jax.numpy as jnp

from vivit_jax.augment.boxes import box_mask

AREA = (0.02, 1 / 3)  # area of the box, relative to the image
ASPECT = (0.3, 3.3)  # height of the box by its width
_TRIES = 10  # candidate boxes, as in timm


def erase(clip: jax.Array, key: jax.Array, fill: str = 'noise') -> jax.Array:
  """Fills a random box of a clip; the box is the same in all frames.

  The area is uniform and the aspect log-uniform, as in timm. If none of 10
  candidate boxes fits, the clip is returned unchanged.

  Args:
    clip: float [T, H, W, C], normalised.
    key: the clip's random key.
    fill: 'noise' (standard normal for each pixel, the same in all frames),
      'noise_per_frame' (new in each frame, as in SlowFast) or 'mean' (0, the
      mean of normalised pixels).
  """
  box_key, noise_key = jax.random.split(key)
  inside_HxWx1 = _random_box(box_key, clip.shape[1:3])[..., None]
  shape = clip.shape if fill == 'noise_per_frame' else clip.shape[1:]
  if fill == 'mean':
    filling = jnp.zeros(shape, clip.dtype)
  else:
    filling = jax.random.normal(noise_key, shape, clip.dtype)
  return jnp.where(inside_HxWx1, filling, clip)


def _random_box(key: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Returns bool [H, W], true in the first candidate box that fits, if any."""
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

"""Rectangular masks of an image."""

import jax
import jax.numpy as jnp


def box_mask(size: tuple[int, int], top, left, bottom, right) -> jax.Array:
  """Returns bool [H, W], true inside a box.

  Args:
    size: height and width of the image, in pixels.
    top, left: first row and column inside the box; scalars.
    bottom, right: first row and column after the box; scalars. The box may
      extend outside the image.
  """
  rows, columns = jnp.arange(size[0])[:, None], jnp.arange(size[1])
  inside = (rows >= top) & (rows < bottom)
  return inside & (columns >= left) & (columns < right)

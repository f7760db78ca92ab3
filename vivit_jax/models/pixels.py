"""Normalisation of pixels to the model's input."""

import jax
import jax.numpy as jnp


def normalise(
  video: jax.Array,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
) -> jax.Array:
  """Normalises pixels in [0, 255]: (x / 255 - mean) / std.

  Args:
    video: uint8 or float [..., 3], RGB.
    mean, std: per channel, for pixels in [0, 1].

  Returns:
    float32 [..., 3].
  """
  x = video.astype(jnp.float32) / 255.0
  return (x - jnp.asarray(mean)) / jnp.asarray(std)

"""The pixels that a model sees."""

import jax
import jax.numpy as jnp


def normalise(
  video: jax.Array,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
) -> jax.Array:
  """Maps uint8 or float pixels in [0, 255] to (x / 255 - mean) / std.

  Args:
    video: [..., 3], RGB.
    mean, std: one value a channel, on the scale of [0, 1].

  Returns:
    float32, of the same shape.
  """
  x = video.astype(jnp.float32) / 255.0
  return (x - jnp.asarray(mean)) / jnp.asarray(std)

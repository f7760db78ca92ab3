"""Normalisation of pixels to the model's input, and back."""

import jax
import jax.numpy as jnp
import numpy as np

# Statistics of ImageNet's pixels in [0, 1], for config section `data`.
IMAGENET = {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}


def normalise(
  video: jax.Array,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
  channels: str = 'rgb',
) -> jax.Array:
  """Normalises pixels in [0, 255]: (x / 255 - mean) / std.

  Args:
    video: uint8 or float [..., 3], RGB.
    mean, std: per channel of the result, for pixels in [0, 1].
    channels: order of the result, 'rgb' or 'bgr'.

  Returns:
    float32 [..., 3].
  """
  x = video.astype(jnp.float32) / 255.0
  if channels == 'bgr':
    x = x[..., ::-1]
  return (x - jnp.asarray(mean)) / jnp.asarray(std)


def restore(
  x: jax.Array,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
  channels: str = 'rgb',
) -> np.ndarray:
  """Returns normalised pixels [..., 3] as uint8, RGB; undoes `normalise`."""
  levels = (np.asarray(x) * np.float32(std) + np.float32(mean)) * 255.0
  levels = np.round(np.clip(levels, 0.0, 255.0)).astype(np.uint8)
  return levels[..., ::-1] if channels == 'bgr' else levels

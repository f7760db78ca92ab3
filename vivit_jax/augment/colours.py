"""Colour jitter and colour drop, with the reference's strengths."""

import jax
import jax.numpy as jnp
import numpy as np

# Ranges of the colour jitter in the reference's input pipeline.
BRIGHTNESS = 32 / 255  # max offset, up or down
CONTRAST = SATURATION = (0.6, 1.4)  # factors
HUE = 0.2  # max rotation either way, in turns

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, of RGB
_RGB_TO_YIQ = np.array(
  [
    [0.299, 0.587, 0.114],
    [0.5959, -0.2746, -0.3213],
    [0.2115, -0.5227, 0.3112],
  ],
  np.float32,
)
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def drop_colour(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Returns a clip [T, H, W, 3] in grey: every channel is the luma."""
  del key
  return jnp.broadcast_to((clip @ LUMA)[..., None], clip.shape)


def jitter_colour(clip: jax.Array, key: jax.Array) -> jax.Array:
  """Randomly changes brightness, contrast, saturation and hue of a clip.

  Args:
    clip: float [T, H, W, 3] in [0, 1].
    key: the clip's random key.
  """
  low, high = zip((-BRIGHTNESS, BRIGHTNESS), CONTRAST, SATURATION, (-HUE, HUE))
  brightness, contrast, saturation, hue = jax.random.uniform(
    key, (4,), minval=jnp.array(low), maxval=jnp.array(high)
  )
  return change_colour(
    clip,
    brightness=brightness,
    contrast=contrast,
    saturation=saturation,
    hue=hue,
  )


def change_colour(
  clip: jax.Array,
  *,
  brightness: jax.Array | float = 0.0,
  contrast: jax.Array | float = 1.0,
  saturation: jax.Array | float = 1.0,
  hue: jax.Array | float = 0.0,
) -> jax.Array:
  """Returns a clip with changed colours, limited to [0, 1].

  Args:
    clip: RGB, float [T, H, W, 3] in [0, 1].
    brightness: offset of all channels.
    contrast: scales the distance from the frame's mean colour.
    saturation: scales the distance from the pixel's grey.
    hue: rotation in the chroma plane of YIQ, in turns.
  """
  clip = clip + brightness
  mean = clip.mean(axis=(1, 2), keepdims=True)
  clip = mean + (clip - mean) * contrast
  cos, sin = jnp.cos(2 * jnp.pi * hue), jnp.sin(2 * jnp.pi * hue)
  chroma = jnp.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
  chroma = chroma.at[1:, 1:].multiply(saturation)
  matrix = _YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ
  return jnp.clip(clip @ matrix.T, 0.0, 1.0)

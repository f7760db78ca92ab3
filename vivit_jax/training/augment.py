"""Random changes of clips on the accelerator, the same for a whole clip.

Every draw is keyed by (step's key, the example's place in the global batch),
so that neither the number of devices nor of processes changes it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vivit_jax import parallel
from vivit_jax.config import AugmentConfig

# Strengths of the colour jitter, those of the reference's input pipeline.
BRIGHTNESS = 32 / 255  # added, at most
CONTRAST = SATURATION = (0.6, 1.4)  # factors
HUE = 0.2  # of a turn, at most, either way

_LUMA = jnp.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = jnp.array(
  [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)


def augment(
  video: jax.Array, key: jax.Array, place_B: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Flips and recolours clips, each with the configured probability.

  Args:
    video: uint8 [B, T, H, W, 3].
    key: this step's.
    place_B: int32 [B], places in the global batch.
    config: probabilities; those that are 0 cost nothing.

  Returns:
    float32 [B, T, H, W, 3] in [0, 255].
  """
  x = video.astype(jnp.float32)
  if config.flip:
    x = jax.vmap(_randomly(flip, config.flip, 0), (0, None, 0))(x, key, place_B)
  if config.colour_jitter or config.colour_drop:
    x = x / 255.0
    for index, (change, probability) in enumerate(
      [(jitter_colour, config.colour_jitter), (drop_colour, config.colour_drop)]
    ):
      if probability:
        x = jax.vmap(_randomly(change, probability, index + 1), (0, None, 0))(
          x, key, place_B
        )
    x = x * 255.0
  return x


def _randomly(change, probability: float, purpose: int):
  """Returns (clip, step's key, place) -> clip, changed with `probability`."""

  def apply(clip, key, place):
    key = jax.random.fold_in(jax.random.fold_in(key, purpose), place)
    whether, how = jax.random.split(key)
    changed = change(clip, how)
    return jnp.where(jax.random.bernoulli(whether, probability), changed, clip)

  return apply


def flip(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Mirrors a clip [T, H, W, C] left to right."""
  del key
  return clip[:, :, ::-1]


def drop_colour(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Makes a clip [T, H, W, 3] grey: its luma (ITU-R BT.601) in all channels."""
  del key
  return jnp.broadcast_to((clip @ _LUMA)[..., None], clip.shape)


def jitter_colour(clip: jax.Array, key: jax.Array) -> jax.Array:
  """Draws brightness, contrast, saturation and hue for a clip in [0, 1]."""
  keys = jax.random.split(key, 4)
  return change_colour(
    clip,
    brightness=jax.random.uniform(
      keys[0], minval=-BRIGHTNESS, maxval=BRIGHTNESS
    ),
    contrast=jax.random.uniform(
      keys[1], minval=CONTRAST[0], maxval=CONTRAST[1]
    ),
    saturation=jax.random.uniform(
      keys[2], minval=SATURATION[0], maxval=SATURATION[1]
    ),
    hue=jax.random.uniform(keys[3], minval=-HUE, maxval=HUE),
  )


def change_colour(
  clip: jax.Array,
  *,
  brightness: jax.Array | float = 0.0,
  contrast: jax.Array | float = 1.0,
  saturation: jax.Array | float = 1.0,
  hue: jax.Array | float = 0.0,
) -> jax.Array:
  """Changes the colours of a clip [T, H, W, 3] in [0, 1], and clips to it.

  Args:
    clip: RGB.
    brightness: added.
    contrast: factor of the distance to each frame's mean colour.
    saturation: factor of the distance to the pixel's own grey.
    hue: turns, in the chroma plane of YIQ.
  """
  clip = clip + brightness
  mean = clip.mean(axis=(1, 2), keepdims=True)
  clip = mean + (clip - mean) * contrast
  cos, sin = jnp.cos(2 * jnp.pi * hue), jnp.sin(2 * jnp.pi * hue)
  chroma = jnp.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
  chroma = chroma.at[1:, 1:].multiply(saturation)
  matrix = jnp.linalg.inv(_RGB_TO_YIQ) @ chroma @ _RGB_TO_YIQ
  return jnp.clip(clip @ matrix.T, 0.0, 1.0)


def mixup(
  video: jax.Array,
  targets: Mapping[str, jax.Array],
  key: jax.Array,
  alpha: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Mixes each example with its neighbour in the global batch.

  One share, of Beta(alpha, alpha), for the whole batch (Zhang et al., arXiv
  1710.09412). Called inside a function mapped over devices.

  Args:
    video: float [B, T, H, W, 3].
    targets: float [B, K] of each head.
    key: this step's; the same on all devices.
    alpha: of the Beta distribution, above 0.
  """
  share = jax.random.beta(key, alpha, alpha)

  def mix(x):
    return share * x + (1.0 - share) * parallel.next_example(x)

  return mix(video), {head: mix(x) for head, x in targets.items()}

"""Random changes of single clips on the accelerator, alike in all frames.

Every draw depends on (the step's key, the change's name, the example's place
in the global batch), so that neither the number of devices nor of processes
changes it.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vivit_jax.augment import colours, draws, erasing
from vivit_jax.augment.randaugment_colour import recolour
from vivit_jax.config import AugmentConfig


def augment(
  video: jax.Array,
  key: jax.Array,
  place_B: jax.Array,
  config: AugmentConfig,
  randaugment: jax.Array | None = None,
) -> jax.Array:
  """Flips and recolours clips, each with the configured probability.

  In this order: flip, RandAugment's colour operations, colour jitter and drop.

  Args:
    video: uint8 [B, T, H, W, 3].
    key: the step's 'augment'.
    place_B: int32 [B], places in the global batch.
    config: probabilities; those that are 0 cost nothing.
    randaugment: float32 [B, layers, 4], results of `randaugment.draw`, or None
      without it.

  Returns:
    float32 [B, T, H, W, 3] in [0, 255].
  """
  x = video.astype(jnp.float32)
  if config.flip:
    x = _change_some(flip, config.flip, x, draws.key_for(key, 'flip'), place_B)
  if randaugment is not None:
    x = recolour(x, randaugment)
  if config.colour_jitter or config.colour_drop:
    x = x / 255.0
    if config.colour_jitter:
      jitter_key = draws.key_for(key, 'colour_jitter')
      x = _change_some(
        colours.jitter_colour, config.colour_jitter, x, jitter_key, place_B
      )
    if config.colour_drop:
      drop_key = draws.key_for(key, 'colour_drop')
      x = _change_some(
        colours.drop_colour, config.colour_drop, x, drop_key, place_B
      )
    x = x * 255.0
  return x


def randomly_erase(
  video: jax.Array, key: jax.Array, place_B: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Erases a random box of clips, with probability `config.erasing`.

  Args:
    video: float [B, T, H, W, 3], normalised.
    key: the step's 'augment'.
    place_B: int32 [B], places in the global batch.
    config: `erasing`, and `erasing_fill`, the `fill` of `erasing.erase`.
  """
  erase = functools.partial(erasing.erase, fill=config.erasing_fill)
  key = draws.key_for(key, 'erasing')
  return _change_some(erase, config.erasing, video, key, place_B)


def flip(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Mirrors a clip [T, H, W, C] left to right."""
  del key
  return clip[:, :, ::-1]


def _change_some(
  change: Callable[[jax.Array, jax.Array], jax.Array],
  probability: float,
  video: jax.Array,
  key: jax.Array,
  place_B: jax.Array,
) -> jax.Array:
  """Changes each clip with a probability.

  Args:
    change: (clip, its key) -> clip.
    probability: of a change.
    video: [B, T, H, W, 3].
    key: of this change in this step.
    place_B: int32 [B], places in the global batch.
  """

  def one(clip, place):
    whether, how = jax.random.split(jax.random.fold_in(key, place))
    changed = change(clip, how)
    return jnp.where(jax.random.bernoulli(whether, probability), changed, clip)

  return jax.vmap(one)(video, place_B)

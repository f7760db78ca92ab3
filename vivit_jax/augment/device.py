"""Augmentations of single clips on the accelerator.

All frames of a clip change alike. Random numbers depend only on the step's key,
the augmentation's name and the example's index in the global batch, so they are
the same for any number of devices and processes.
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
  example_index_B: jax.Array,
  config: AugmentConfig,
  randaugment: jax.Array | None = None,
) -> jax.Array:
  """Returns randomly flipped and recoloured clips.

  The order is flip, RandAugment's colour operations, colour jitter, colour
  drop.

  Args:
    video: uint8 [B, T, H, W, 3].
    key: the step's key for 'augment'.
    example_index_B: int32 [B], indices in the global batch.
    config: probabilities; an augmentation of probability 0 is not compiled.
    randaugment: float32 [B, layers, 4] from `randaugment.draw`, or None.

  Returns:
    float32 [B, T, H, W, 3] in [0, 255].
  """
  x = video.astype(jnp.float32)
  if config.flip:
    flip_key = draws.key_for(key, 'flip')
    x = _randomly(flip, config.flip, x, flip_key, example_index_B)
  if randaugment is not None:
    x = recolour(x, randaugment)
  if config.colour_jitter or config.colour_drop:
    x = x / 255.0
    if config.colour_jitter:
      jitter_key = draws.key_for(key, 'colour_jitter')
      x = _randomly(
        colours.jitter_colour,
        config.colour_jitter,
        x,
        jitter_key,
        example_index_B,
      )
    if config.colour_drop:
      drop_key = draws.key_for(key, 'colour_drop')
      x = _randomly(
        colours.drop_colour, config.colour_drop, x, drop_key, example_index_B
      )
    x = x * 255.0
  return x


def randomly_erase(
  video: jax.Array,
  key: jax.Array,
  example_index_B: jax.Array,
  config: AugmentConfig,
) -> jax.Array:
  """Returns clips with a box erased, each with probability `config.erasing`.

  Args:
    video: float [B, T, H, W, 3], normalised.
    key, example_index_B: as in `augment`.
    config: `erasing`, and `erasing_fill` as in `erasing.erase`.
  """
  erase = functools.partial(erasing.erase, fill=config.erasing_fill)
  key = draws.key_for(key, 'erasing')
  return _randomly(erase, config.erasing, video, key, example_index_B)


def flip(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Mirrors a clip [T, H, W, C] left to right."""
  del key
  return clip[:, :, ::-1]


def _randomly(
  change: Callable[[jax.Array, jax.Array], jax.Array],
  probability: float,
  video: jax.Array,
  key: jax.Array,
  example_index_B: jax.Array,
) -> jax.Array:
  """Applies `change` to each clip with a given probability."""

  def one(clip, example_index):
    clip_key = jax.random.fold_in(key, example_index)
    coin_key, change_key = jax.random.split(clip_key)
    changed = change(clip, change_key)
    return jnp.where(jax.random.bernoulli(coin_key, probability), changed, clip)

  return jax.vmap(one)(video, example_index_B)

"""Augmentations against hand-computed pixels, and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.config import AugmentConfig
from vivit_jax.training import augment

RED = jnp.array([1.0, 0.0, 0.0])


def clips(count: int) -> np.ndarray:
  draw = np.random.default_rng(0)
  return draw.integers(0, 256, (count, 2, 4, 6, 3)).astype(np.uint8)


def test_flip_mirrors_whole_clips_with_its_probability():
  video = clips(200)
  out = augment.augment(
    video, jax.random.key(0), jnp.arange(200), AugmentConfig(flip=0.3)
  )
  mirrored = video[:, :, :, ::-1]
  same = np.array([np.array_equal(a, b) for a, b in zip(out, video)])
  turned = np.array([np.array_equal(a, b) for a, b in zip(out, mirrored)])
  assert np.all(same ^ turned)
  assert 40 <= turned.sum() <= 80


def test_draws_follow_the_place_not_the_position_in_the_array():
  video = clips(8)
  config = AugmentConfig(flip=0.5, colour_jitter=0.8, colour_drop=0.3)
  key = jax.random.key(3)
  whole = augment.augment(video, key, jnp.arange(8), config)
  part = augment.augment(video[5:], key, jnp.arange(5, 8), config)
  np.testing.assert_allclose(part, whole[5:], atol=1e-3)


def test_colour_changes_by_hand():
  clip = jnp.broadcast_to(RED, (1, 2, 2, 3))
  grey = augment.drop_colour(clip)
  np.testing.assert_allclose(grey, jnp.full_like(clip, 0.299), rtol=1e-6)
  np.testing.assert_allclose(
    augment.change_colour(clip, saturation=0.0), grey, atol=1e-3
  )
  half = jnp.full((1, 2, 2, 3), 0.5)
  np.testing.assert_allclose(
    augment.change_colour(half, brightness=0.1), half + 0.1, atol=1e-3
  )
  np.testing.assert_allclose(
    augment.change_colour(half, hue=0.2), half, atol=1e-3
  )
  black_and_white = jnp.array([[[[0.3] * 3, [0.5] * 3]]])
  np.testing.assert_allclose(
    augment.change_colour(black_and_white, contrast=1.4)[0, 0, :, 0],
    [0.26, 0.54],
    atol=1e-3,
  )

"""Changes of clips happen with their probability, and follow the place."""

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.augment import device
from vivit_jax.config import AugmentConfig

augment = jax.jit(device.augment, static_argnums=3)
erase = jax.jit(device.randomly_erase, static_argnums=3)


def clips(count: int) -> np.ndarray:
  draw = np.random.default_rng(0)
  return draw.integers(0, 256, (count, 2, 4, 6, 3)).astype(np.uint8)


def test_flip_mirrors_whole_clips_with_its_probability():
  video = clips(200)
  out = augment(
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
  whole = augment(video, key, jnp.arange(8), config)
  turned = augment(video[::-1], key, jnp.arange(8)[::-1], config)
  np.testing.assert_allclose(turned[::-1], whole, atol=1e-3)


def test_erasing_has_its_probability_and_follows_the_place():
  video = np.ones((200, 1, 8, 8, 3), np.float32) * 9
  config = AugmentConfig(erasing=0.3)
  key, places = jax.random.key(1), jnp.arange(200)
  out = erase(video, key, places, config)
  erased = (np.asarray(out) != 9).any(axis=(1, 2, 3, 4))
  assert 40 <= erased.sum() <= 80
  turned = erase(video, key, places[::-1], config)
  np.testing.assert_array_equal(turned[::-1], out)

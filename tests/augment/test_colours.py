"""Colour changes against hand-computed pixels."""

import jax.numpy as jnp
import numpy as np

from vivit_jax.augment import colours

RED = jnp.array([1.0, 0.0, 0.0])


def test_colour_changes_by_hand():
  clip = jnp.broadcast_to(RED, (1, 2, 2, 3))
  grey = colours.drop_colour(clip)
  np.testing.assert_allclose(grey, jnp.full_like(clip, 0.299), rtol=1e-6)
  np.testing.assert_allclose(
    colours.change_colour(clip, saturation=0.0), grey, atol=1e-3
  )
  half = jnp.full((1, 2, 2, 3), 0.5)
  np.testing.assert_allclose(
    colours.change_colour(half, brightness=0.1), half + 0.1, atol=1e-3
  )
  np.testing.assert_allclose(
    colours.change_colour(half, hue=0.2), half, atol=1e-3
  )
  black_and_white = jnp.array([[[[0.3] * 3, [0.5] * 3]]])
  np.testing.assert_allclose(
    colours.change_colour(black_and_white, contrast=1.4)[0, 0, :, 0],
    [0.26, 0.54],
    atol=1e-3,
  )

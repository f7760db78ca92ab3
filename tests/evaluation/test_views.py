"""Averaging over views against a loop over videos and views."""

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.evaluation import views


def brightness(clips):
  """Two heads, not linear in the pixels, with a weight of its own a frame."""
  weights = jnp.array([1.0, 10.0])
  means = clips.astype(jnp.float32).mean((2, 3)) * weights[None, :, None]
  return {
    'colour': jnp.exp(means.sum(1)),
    'level': means.sum((1, 2))[:, None] ** 2,
  }


def test_views_of_a_video_are_averaged_with_one_another():
  video = np.random.default_rng(0).uniform(size=(3, 4, 2, 5, 6, 3))
  weights = np.array([1.0, 10.0])[:, None]
  colour, level = np.zeros((3, 3)), np.zeros((3, 1))
  for j in range(3):
    for i in range(4):
      means = video[j, i].mean((1, 2)) * weights
      colour[j] += np.exp(means.sum(0)) / 4
      level[j] += means.sum() ** 2 / 4
  for function in (views.average_views, _mapped):
    logits = function(brightness, jnp.asarray(video, jnp.float32))
    assert sorted(logits) == ['colour', 'level']
    np.testing.assert_allclose(logits['colour'], colour, rtol=1e-5)
    np.testing.assert_allclose(logits['level'], level, rtol=1e-5)


def _mapped(apply, video):
  mapped = jax.pmap(lambda x: views.average_views(apply, x))
  return {head: x[0] for head, x in mapped(video[None]).items()}


def test_half_precision_is_averaged_in_full():
  # Between 256 and 258 bfloat16 has no number; their mean needs more bits.
  logits = jnp.array([[256.0], [258.0]], jnp.bfloat16)
  video = jnp.zeros((1, 2, 1, 1, 1, 3))
  average = views.average_views(lambda clips: {'a': logits}, video)['a']
  assert average.dtype == jnp.float32
  assert float(average[0, 0]) == 257.0

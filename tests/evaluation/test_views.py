"""Logits of views against a loop over videos, and subsets of views."""

import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.evaluation import views


def brightness(clips, _=None):
  """Two heads, not linear in the pixels, with a weight of its own a frame."""
  weights = jnp.array([1.0, 10.0])
  means = clips.astype(jnp.float32).mean((2, 3)) * weights[None, :, None]
  return {
    'colour': jnp.exp(means.sum(1)),
    'level': means.sum((1, 2))[:, None] ** 2,
  }


def test_logits_stand_at_their_video_and_view():
  video = np.random.default_rng(0).uniform(size=(3, 4, 2, 5, 6, 3))
  weights = np.array([1.0, 10.0])[:, None]
  colour, level = np.zeros((3, 4, 3)), np.zeros((3, 4, 1))
  for j in range(3):
    for i in range(4):
      means = video[j, i].mean((1, 2)) * weights
      colour[j, i] = np.exp(means.sum(0))
      level[j, i] = means.sum() ** 2
  logits = views.of_each_view(brightness, jnp.asarray(video, jnp.float32))
  assert sorted(logits) == ['colour', 'level']
  np.testing.assert_allclose(logits['colour'], colour, rtol=1e-5)
  np.testing.assert_allclose(logits['level'], level, rtol=1e-5)


def test_every_number_of_views_up_to_the_full_one():
  assert views.counts(2, 3) == [(1, 1), (2, 1), (1, 3), (2, 3)]
  assert views.counts(3, 1) == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize(
  ('temporal', 'spatial', 't', 's', 'expected'),
  [
    (4, 3, 1, 1, [7]),  # the third clip, its centre
    (4, 3, 2, 1, [1, 10]),
    (4, 3, 3, 1, [1, 7, 10]),  # 0, 1.5 and 3
    (4, 3, 2, 3, [0, 1, 2, 9, 10, 11]),
    (1, 3, 1, 1, [1]),
    (7, 1, 4, 1, [0, 2, 4, 6]),
  ],
)
def test_some_views_by_hand(temporal, spatial, t, s, expected):
  assert views.some(temporal, spatial, t, s) == expected


@pytest.mark.parametrize('temporal', [1, 4, 7, 12])
def test_some_views_are_different_and_evenly_spread(temporal):
  for t in range(1, temporal + 1):
    found = views.some(temporal, 1, t, 1)
    assert len(set(found)) == t and set(found) <= set(range(temporal))
    if t > 1:
      assert (found[0], found[-1]) == (0, temporal - 1)
      steps = np.diff(found)
      assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize('max_clips', [1, 5, 12])
def test_clips_in_parts_are_the_clips_at_once(max_clips):
  video = np.random.default_rng(1).uniform(size=(3, 4, 2, 5, 6, 3))
  video = jnp.asarray(video, jnp.float32)
  sizes = set()

  def noting(clips, _):
    sizes.add(len(clips))
    return brightness(clips)

  found = views.of_each_view(noting, video, max_clips=max_clips)
  expected = views.of_each_view(brightness, video)
  for head in expected:
    np.testing.assert_allclose(found[head], expected[head], rtol=1e-6)
  assert max(sizes) <= max_clips
  # 12 clips in parts of 5 are 3 of 4: no waste.
  assert sizes == {{1: 1, 5: 4, 12: 12}[max_clips]}

"""Mixup and cutmix: pixels and labels are mixed by the same shares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax import parallel
from vivit_jax.augment import mixing
from vivit_jax.config import AugmentConfig


@functools.cache
def mapped_mix(config: AugmentConfig):
  """Returns (video, targets, key) -> results of `mix`, compiled once."""
  return parallel.map_over_devices(
    lambda video, targets, key: mixing.mix(video, targets, key, config)
  )


def mixed(config: AugmentConfig, seed: int = 0):
  """Returns three clips of 8 x 8 pixels mixed: all 0, all 1 and all 2."""
  video = np.broadcast_to(
    np.arange(3, dtype=np.float32)[:, None, None, None, None], (3, 2, 8, 8, 3)
  )
  targets = {'label': np.eye(3, dtype=np.float32)}
  if jax.local_device_count() > 1:
    pytest.skip('the ring of one device')
  arguments = (video, targets, jax.random.key(seed))
  out = mapped_mix(config)(*jax.tree.map(lambda x: x[None], arguments))
  return jax.tree.map(lambda x: np.asarray(x)[0], out)


def test_cutmix_mixes_labels_by_the_area_of_its_box():
  shares = []
  for seed in range(30):
    video, targets, share = mixed(AugmentConfig(cutmix=1.0), seed)
    taken = video[0, 0, :, :, 0] == 1  # of the neighbour, all 1
    rows, columns = taken.any(1), taken.any(0)
    np.testing.assert_array_equal(taken, rows[:, None] & columns)
    for own, other in ((0, 1), (1, 2), (2, 0)):
      expected = np.where(taken, other, own)[None, :, :, None]
      np.testing.assert_array_equal(
        video[own], np.broadcast_to(expected, (2, 8, 8, 3))
      )
      label = np.zeros(3)
      label[own], label[other] = 64 - taken.sum(), taken.sum()
      np.testing.assert_allclose(targets['label'][own], label / 64, atol=1e-6)
    assert share == pytest.approx(1 - taken.sum() / 64)
    shares.append(float(share))
  assert min(shares) < 0.3 and max(shares) > 0.8


def test_a_cutmix_box_by_hand(monkeypatch):
  """A share of 0.75 is a side of a half: rows 5 to 8, columns -2 to 1."""
  monkeypatch.setattr(jax.random, 'beta', lambda *_: jnp.float32(0.75))
  centres = iter([7, 0])
  monkeypatch.setattr(jax.random, 'randint', lambda *_: next(centres))
  weights = mixing.cutmix_weights(jax.random.key(0), 1.0, (8, 8))
  expected = np.ones((8, 8))
  expected[5:, :2] = 0.0
  np.testing.assert_array_equal(weights, expected)


def test_mixup_mixes_pixels_and_labels_alike():
  video, targets, share = mixed(AugmentConfig(mixup=1.0), 3)
  np.testing.assert_allclose(video[0], 1 - share, rtol=1e-6)
  np.testing.assert_allclose(video[2], 2 * share, rtol=1e-6)
  np.testing.assert_allclose(
    targets['label'][1], [0, share, 1 - share], rtol=1e-6
  )


def test_of_mixup_and_cutmix_one_is_chosen_per_batch():
  config = AugmentConfig(mixup=1.0, cutmix=1.0, cutmix_probability=0.3)
  cut = 0
  for seed in range(100):
    video, targets, share = mixed(config, seed)
    np.testing.assert_allclose(
      targets['label'][0], [share, 1 - share, 0], atol=1e-6
    )
    levels = np.unique(video[0])
    if set(levels) <= {0.0, 1.0}:
      cut += 1
      assert share == pytest.approx((video[0] == 0).mean())
    else:
      np.testing.assert_allclose(levels, 1 - share, rtol=1e-5)
  assert 15 <= cut <= 45

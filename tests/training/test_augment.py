"""Augmentations against hand-computed pixels, and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax import parallel
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


def keys(count: int) -> jax.Array:
  return jax.random.split(jax.random.key(5), count)


@pytest.mark.parametrize('fill', ['noise', 'mean'])
def test_erasing_fills_one_box_over_all_frames_and_leaves_the_rest(fill):
  clip = np.arange(3 * 20 * 30 * 3, dtype=np.float32).reshape(3, 20, 30, 3) + 9
  areas = []
  for key in keys(60):
    out = np.asarray(augment.erase(clip, key, fill))
    changed = (out != clip).all(axis=(0, 3))  # the noise is never above 9
    np.testing.assert_array_equal((out != clip).any(axis=(0, 3)), changed)
    rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
    box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.all() and changed.sum() == box.size  # a box, and nothing else
    aspect = box.shape[0] / box.shape[1]
    assert 0.3 * 0.7 < aspect < 3.3 * 1.4  # sides are whole pixels
    areas.append(box.size / (20 * 30))
    inside = out[:, changed]
    np.testing.assert_array_equal(inside[0], inside[2])
    if fill == 'mean':
      assert not inside.any()
    else:
      assert 0.5 < inside[0].std() < 1.5 or box.size < 20
  assert min(areas) < 0.08 and max(areas) > 0.25
  assert 0.01 < min(areas) and max(areas) < 0.37


def test_erasing_has_its_probability_and_follows_the_place():
  video = np.ones((200, 1, 8, 8, 3), np.float32) * 9
  config = AugmentConfig(erasing=0.3)
  key, places = jax.random.key(1), jnp.arange(200)
  out = augment.randomly_erase(video, key, places, config)
  erased = (np.asarray(out) != 9).any(axis=(1, 2, 3, 4))
  assert 40 <= erased.sum() <= 80
  part = augment.randomly_erase(video[150:], key, places[150:], config)
  np.testing.assert_array_equal(part, out[150:])


def mixed(config: AugmentConfig, seed: int = 0):
  """Returns three clips of 8 x 8 pixels mixed: all 0, all 1 and all 2."""
  video = np.broadcast_to(
    np.arange(3, dtype=np.float32)[:, None, None, None, None], (3, 2, 8, 8, 3)
  )
  targets = {'label': np.eye(3, dtype=np.float32)}
  one = parallel.map_over_devices(
    lambda video, targets: augment.mix(
      video, targets, jax.random.key(seed), config
    )
  )
  if jax.local_device_count() > 1:
    pytest.skip('the ring of one device')
  out = one(*jax.tree.map(lambda x: x[None], (video, targets)))
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
  weights = augment.cutmix_weights(jax.random.key(0), 1.0, (8, 8))
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

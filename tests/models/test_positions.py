"""Positions by hand, and their resizing in space and time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.models import positions


def test_sinusoids_of_one_axis():
  found = positions.sinusoids((3,), 4)
  n = np.arange(3)[:, None]
  expected = np.concatenate(
    [np.sin(n), np.sin(n / 100), np.cos(n), np.cos(n / 100)], axis=1
  )
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sinusoids_of_three_axes_know_each_axis_apart():
  grid = positions.sinusoids((2, 3, 4), 14).reshape(2, 3, 4, 14)
  assert not grid[..., 12:].any()  # 14 is 6 * 2 and a rest
  for axis, columns in enumerate(np.split(grid[..., :12], 3, axis=-1)):
    other = tuple(a for a in range(3) if a != axis)
    assert np.ptp(columns, axis=other).max() == 0
    assert np.ptp(columns, axis=axis).max() > 0.5


@pytest.mark.parametrize('kind', positions.POSITIONS)
def test_what_is_added(kind):
  x = jax.random.normal(jax.random.key(0), (2, 1 + 12, 6))
  module = positions.AddPositions(kind, (3, 2, 2))
  params = module.init(jax.random.key(1), x)
  added = np.array(module.apply(params, x) - x)
  np.testing.assert_allclose(added[0], added[1], atol=1e-6)
  if kind == 'learned':
    learned = params['params']['pos_embedding'][0]
    np.testing.assert_allclose(added[0], learned, atol=1e-6)
  else:
    assert not jax.tree.leaves(params)
    assert not added[0, 0].any()  # the class token has none
    assert added.any() == (kind != 'none')


def ramp(t, h, w):
  """Returns positions that rise evenly along each axis, [1, N, 3]."""
  axes = [(np.arange(n) + 0.5) / n for n in (t, h, w)]
  return np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(1, -1, 3)


def test_resized_ramps_are_ramps_but_at_the_edges():
  found = positions.resize_positions(ramp(4, 6, 6), (4, 6, 6), (8, 12, 9))
  assert found.shape == (1, 8 * 12 * 9, 3)
  inner = np.s_[1:-1, 1:-1, 1:-1]
  found, expected = (
    x.reshape(8, 12, 9, 3)[inner] for x in (found, ramp(8, 12, 9))
  )
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_same_grid_keeps_every_bit():
  same = jax.random.normal(jax.random.key(0), (1, 24, 5))
  found = positions.resize_positions(same, (2, 3, 4), (2, 3, 4))
  np.testing.assert_array_equal(found, same)


def test_one_axis_by_hand():
  old = jnp.array([0.0, 1.0, 3.0])[None, :, None]
  found = positions.resize_positions(old, (3, 1, 1), (6, 1, 1))
  np.testing.assert_allclose(
    found[0, :, 0], [0, 0.25, 0.75, 1.5, 2.5, 3], atol=1e-6
  )


def test_positions_of_another_grid_are_refused():
  with pytest.raises(ValueError, match='24'):
    positions.resize_positions(np.zeros((1, 24, 5)), (2, 3, 3), (2, 3, 4))


@pytest.mark.parametrize(
  'old, new', [(5, 5), (4, 7), (16, 20), (16, 10), (5, 1)]
)
def test_triangles_resize_as_jax_with_antialiasing(old, new):
  x = np.random.default_rng(0).normal(size=(old, 3)).astype(np.float32)
  expected = jax.image.resize(x, (new, 3), 'bilinear')
  found = positions.triangles(old, new) @ x
  np.testing.assert_allclose(found, expected, atol=1e-5)

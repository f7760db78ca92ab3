"""An erased box has the configured shape, and nothing else changes."""

import jax
import numpy as np
import pytest

from vivit_jax.augment import erasing


def keys(count: int) -> jax.Array:
  return jax.random.split(jax.random.key(5), count)


@pytest.mark.parametrize('fill', ['noise', 'noise_per_frame', 'mean'])
def test_erasing_fills_one_box_over_all_frames_and_leaves_the_rest(fill):
  clip = np.arange(3 * 20 * 30 * 3, dtype=np.float32).reshape(3, 20, 30, 3) + 9
  erase, areas = jax.jit(erasing.erase, static_argnums=2), []
  for key in keys(60):
    out = np.asarray(erase(clip, key, fill))
    changed = (out != clip).all(axis=(0, 3))  # the noise is never above 9
    np.testing.assert_array_equal((out != clip).any(axis=(0, 3)), changed)
    rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
    box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.all() and changed.sum() == box.size  # a box, and nothing else
    aspect = box.shape[0] / box.shape[1]
    assert 0.3 * 0.7 < aspect < 3.3 * 1.4  # sides are whole pixels
    areas.append(box.size / (20 * 30))
    inside = out[:, changed]
    same = inside[0] == inside[2]
    assert same.all() if fill != 'noise_per_frame' else not same.any()
    if fill == 'mean':
      assert not inside.any()
    else:
      assert 0.5 < inside[0].std() < 1.5 or box.size < 20
  assert min(areas) < 0.08 and max(areas) > 0.25
  assert 0.01 < min(areas) and max(areas) < 0.37

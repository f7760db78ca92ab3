"""Frame numbers of each sampling against hand-computed ones."""

import numpy as np
import pytest

from vivit_jax.config import DataConfig
from vivit_jax.data import frame_numbers


def uniform(sampling, available, frames, views=1):
  data = DataConfig(sampling=sampling, frames=frames)
  numbers = frame_numbers.uniform_frames(available, data, data.stride, views)
  assert numbers.dtype == np.int64
  return numbers.tolist()


@pytest.mark.parametrize(
  'available, frames, views, expected',
  [
    # Segments of 9 / 4: from 0, 2.25, 4.5 (to even: 4), 6.75 to 9.
    (10, 4, 1, [[1, 3, 5, 8]]),
    # At 1/4 and 3/4 of 2, 2, 3 and 2 frames.
    (10, 4, 2, [[0, 2, 4, 7], [1, 3, 6, 8]]),
    # At 1/6, 1/2 and 5/6: the middle view is the single one.
    (10, 4, 3, [[0, 2, 4, 7], [1, 3, 5, 8], [1, 3, 6, 8]]),
    (9, 2, 1, [[2, 6]]),
    (9, 2, 4, [[0, 4], [1, 5], [2, 6], [3, 7]]),
    # 19 / 8 = 2.375: 0, 2, 5, 7, 10 (9.5), 12, 14, 17, 19.
    (20, 8, 1, [[1, 3, 6, 8, 11, 13, 15, 18]]),
    # Fewer frames than segments: 0, 0.5, 1, 1.5, 2 become 0, 0, 1, 2, 2.
    (3, 4, 1, [[0, 0, 1, 2]]),
    (1, 4, 1, [[0, 0, 0, 0]]),
    (1, 4, 2, [[0, 0, 0, 0], [0, 0, 0, 0]]),
    (7, 1, 1, [[3]]),
  ],
)
def test_views_of_segments(available, frames, views, expected):
  assert uniform('segments', available, frames, views) == expected


@pytest.mark.parametrize(
  'available, frames, views, expected',
  [
    (10, 4, 1, [[0, 3, 6, 9]]),
    (11, 4, 1, [[0, 3, 6, 10]]),  # 10 / 3 apart
    (10, 8, 1, [[0, 1, 2, 3, 5, 6, 7, 9]]),  # 9 / 7 apart
    (10, 4, 2, [[0, 2, 5, 7], [1, 3, 6, 9]]),  # those eight, in turn
    (3, 5, 1, [[0, 0, 1, 1, 2]]),
    (1, 3, 1, [[0, 0, 0]]),
    (7, 1, 1, [[0]]),
    (7, 1, 2, [[0], [6]]),
  ],
)
def test_views_of_the_whole_video(available, frames, views, expected):
  assert uniform('whole', available, frames, views) == expected


def test_the_whole_video_is_numpys_linspace_and_not_its_rounding_errors():
  for available in range(1, 400):
    expected = np.linspace(0, available - 1, 16).astype(int).tolist()
    assert uniform('whole', available, 16) == [expected]
  assert np.linspace(0, 153, 64)[21] < 51  # 21 * 153 / 63 is 51
  assert uniform('whole', 154, 64)[0][21] == 51


def draws(sampling, available, frames, count):
  data = DataConfig(sampling=sampling, frames=frames)
  rng = np.random.default_rng(0)
  return np.array([
    frame_numbers.random_frames(available, data, data.stride, rng)
    for _ in range(count)
  ])  # fmt: skip


def test_training_frames_are_uniform_within_their_segments():
  numbers = draws('segments', 10, 4, 3000)
  for column, (low, high) in zip(numbers.T, [(0, 2), (2, 4), (4, 7), (7, 9)]):
    counts = np.bincount(column, minlength=high + 1)
    assert counts[:low].sum() == 0 and len(counts) == high + 1
    expected = 3000 / (high - low + 1)
    assert np.abs(counts[low:] - expected).max() < 5 * expected**0.5
  pairs = set(map(tuple, numbers[:, :2].tolist()))
  assert len(pairs) == 9  # independent of each other


def test_training_frames_of_short_videos_repeat():
  numbers = draws('segments', 3, 4, 200)
  assert set(map(tuple, numbers.tolist())) == {
    (0, b, c, 2) for b in (0, 1) for c in (1, 2)
  }
  assert not draws('segments', 1, 4, 5).any()
  assert draws('whole', 3, 5, 3).tolist() == [[0, 0, 1, 1, 2]] * 3


def test_clips_are_those_at_the_stride():
  assert uniform('clip', 20, 4, 2) == [[0, 2, 4, 6], [13, 15, 17, 19]]
  assert {int(n[0]) for n in draws('clip', 9, 4, 100)} == {0, 1, 2}

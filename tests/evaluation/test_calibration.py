"""The calibration error, by hand and against a plain loop."""

import numpy as np
import pytest

from vivit_jax.evaluation import calibration


def test_by_hand():
  """Four bins: three examples at 0.6, 0.7 and 0.75, an upper edge; one at 1."""
  confidence = np.array([0.6, 0.7, 0.75, 1.0])
  right = np.array([True, False, False, True])
  found = calibration.bins(confidence, right, number=4)
  assert found.count.tolist() == [0, 0, 3, 1]
  np.testing.assert_allclose(found.accuracy, [0, 0, 1 / 3, 1])
  np.testing.assert_allclose(found.confidence, [0, 0, 2.05 / 3, 1])


def test_the_error_against_a_loop():
  rng = np.random.default_rng(0)
  confidence, right = rng.random(300), rng.random(300) < 0.5
  expected = 0.0
  for m in range(15):
    inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
    if inside.any():
      gap = abs(right[inside].mean() - confidence[inside].mean())
      expected += inside.sum() / 300 * gap
  assert calibration.error(confidence, right) == pytest.approx(expected)


def test_counts_are_copies():
  rng = np.random.default_rng(1)
  confidence, right = rng.random(60), rng.random(60) < 0.5
  rows = rng.integers(0, 60, 60)
  counts = np.bincount(rows, minlength=60)
  found = calibration.bins(confidence, right, counts)
  expected = calibration.bins(confidence[rows], right[rows])
  np.testing.assert_array_equal(found.count, expected.count)
  assert calibration.error(confidence, right, counts) == pytest.approx(
    calibration.error(confidence[rows], right[rows])
  )

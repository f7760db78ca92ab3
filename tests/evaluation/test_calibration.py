"""The calibration error, by hand and against a plain loop."""

import numpy as np
import pytest

from vivit_jax.evaluation import calibration


def of_two_classes(confidence):
  confidence = np.array(confidence)
  return np.stack([confidence, 1 - confidence], axis=1)


def test_by_hand():
  """Four bins: three examples at 0.6, 0.7 and 0.75, one at 1."""
  probabilities = of_two_classes([0.6, 0.7, 0.75, 1.0])
  found = calibration.bins(probabilities, np.array([0, 1, 1, 0]), 4)
  assert found.count.tolist() == [0, 0, 3, 1]
  np.testing.assert_allclose(found.accuracy, [0, 0, 1 / 3, 1])
  np.testing.assert_allclose(found.confidence, [0, 0, 2.05 / 3, 1])
  assert found.error() == pytest.approx(3 / 4 * (2.05 / 3 - 1 / 3))


def test_a_bin_ends_with_its_upper_edge():
  counts = [
    calibration.bins(of_two_classes([p]), np.array([0]), 4).count.tolist()
    for p in (0.5, 0.5 + 1e-9, 0.75)
  ]
  assert counts == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_against_a_loop():
  rng = np.random.default_rng(0)
  probabilities = rng.dirichlet(np.ones(5) / 2, 300)
  labels = rng.integers(0, 5, 300)
  expected = 0.0
  for m in range(15):
    inside = [
      (p.max(), p.argmax() == label)
      for p, label in zip(probabilities, labels)
      if m / 15 < p.max() <= (m + 1) / 15
    ]
    if inside:
      confidence, right = zip(*inside)
      gap = abs(np.mean(right) - np.mean(confidence))
      expected += len(inside) / 300 * gap
  found = calibration.bins(probabilities, labels).error()
  assert found == pytest.approx(expected)


def test_a_model_that_is_right_as_often_as_it_says():
  found = calibration.bins(of_two_classes([0.75] * 4), np.array([0, 0, 0, 1]))
  assert found.error() == pytest.approx(0)

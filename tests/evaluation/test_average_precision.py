"""Average precision by hand, and with counts against copies."""

import numpy as np
import pytest

from vivit_jax.evaluation.average_precision import Ranking


def test_by_hand():
  """Class 0 ranks 2, 0, 3, 1: right at ranks 1 and 3; class 1 at rank 2."""
  scores = np.array([[3, 0], [0, 9], [4, 1], [1, 5]], float)
  labels = np.array([[0, 0], [0, 0], [1, 0], [1, 1]], float)
  found = Ranking(scores, labels)
  expected = [(1 / 1 + 2 / 3) / 2, 1 / 2]
  np.testing.assert_allclose(found.average_precisions(), expected)
  assert found.mean() == pytest.approx(np.mean(expected))
  # In ties, the wrong ones rank first.
  tied = Ranking(np.zeros((4, 1)), np.array([[1], [0], [1], [0]]))
  assert tied.mean() == pytest.approx((1 / 3 + 2 / 4) / 2)
  # Ranks of copies: right, wrong twice, right twice.
  copied = Ranking(np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]]))
  mean = copied.mean(np.array([1, 2, 2]))
  assert mean == pytest.approx((1 + 0.6 + 0.6) / 3)


def test_classes_without_examples_do_not_count():
  scores = np.array([[3.0, 1.0], [2.0, 2.0]])
  found = Ranking(scores, np.array([[0, 0], [1, 0]]))
  np.testing.assert_allclose(found.average_precisions(), [1 / 2, np.nan])
  assert found.mean() == 1 / 2
  assert Ranking(np.ones((2, 2)), np.zeros((2, 2))).mean() == 0.0


def test_examples_that_count_zero_times():
  rng = np.random.default_rng(1)
  scores = rng.normal(size=(60, 4))
  labels = rng.random((60, 4)) < 0.3
  kept = np.sort(rng.permutation(60)[:20])
  found = Ranking(scores, labels).mean(np.bincount(kept, minlength=60))
  assert found == pytest.approx(Ranking(scores[kept], labels[kept]).mean())

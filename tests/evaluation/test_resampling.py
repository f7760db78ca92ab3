"""Scores of examples drawn with replacement, against drawing them in fact."""

import numpy as np
import pytest

from vivit_jax.evaluation import calibration, intervals, metrics, resampling

N, K = 60, 4


@pytest.fixture
def made():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, K, N)
  scores = rng.normal(size=(N, K)) + 1.5 * np.eye(K)[labels]
  return rng, scores, labels


def draws(rng):
  yield np.arange(N)
  for _ in range(5):
    yield rng.integers(0, N, N)


def test_the_mean_of_classes(made):
  rng, scores, labels = made
  right = metrics.top_k(scores, 1)[:, 0] == labels
  score = resampling.class_mean(right, labels)
  for drawn in draws(rng):
    expected = metrics.mean_class_accuracy(scores[drawn], labels[drawn])
    times = np.bincount(drawn, minlength=N)
    assert score(times) == pytest.approx(expected)


def test_a_class_that_is_not_drawn_does_not_count():
  score = resampling.class_mean(np.array([True, False]), np.array([0, 1]))
  assert score(np.array([2, 0])) == 1.0
  assert score(np.array([1, 1])) == 0.5


def test_the_calibration_error(made):
  rng, scores, labels = made
  probabilities = metrics.softmax(scores)
  score = resampling.calibration_error(probabilities, labels)
  for drawn in draws(rng):
    bins = calibration.bins(probabilities[drawn], labels[drawn])
    times = np.bincount(drawn, minlength=N)
    assert score(times) == pytest.approx(bins.error())


def test_average_precision_without_copies(made):
  """Of examples left out; copies are ties, which `metrics` breaks otherwise."""
  rng, scores, _ = made
  labels = (rng.random((N, K)) < 0.3).astype(float)
  labels[:, 2] = 0
  score = resampling.mean_average_precision(scores, labels)
  for kept in (np.arange(N), np.sort(rng.permutation(N)[:20])):
    expected = metrics.mean_average_precision(scores[kept], labels[kept])
    times = np.bincount(kept, minlength=N)
    assert score(times) == pytest.approx(expected)


def test_average_precision_of_copies_by_hand():
  """Ranks: right, wrong twice, right twice: (1/1 + 3/5 + 3/5) / 3."""
  score = resampling.mean_average_precision(
    np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]])
  )
  assert score(np.array([1, 2, 2])) == pytest.approx((1 + 0.6 + 0.6) / 3)
  nothing = resampling.mean_average_precision(np.ones((2, 2)), np.zeros((2, 2)))
  assert nothing(np.array([1, 1])) == 0.0


def test_the_interval_of_a_plain_mean_is_the_other_bootstraps():
  rng = np.random.default_rng(1)
  first, second = rng.random((2, 400)) < [[0.5], [0.6]]

  def mean(right):
    return lambda times: float(np.sum(times * right) / np.sum(times))

  found = resampling.interval(mean(first), mean(second), 400)
  expected = intervals.bootstrap(second.astype(int) - first.astype(int))
  np.testing.assert_allclose(found, expected, atol=0.008)
  again = resampling.interval(mean(first), mean(second), 400)
  assert again == found


def test_the_same_draws_for_both():
  values = np.random.default_rng(2).random(50)

  def mean(times):
    return float(np.sum(times * values))

  assert resampling.interval(mean, mean, 50) == (0.0, 0.0)


def test_large_rankings_have_fewer_draws():
  calls = []

  def score(times):
    calls.append(times)
    return 0.0

  resampling.interval(score, score, 3, numbers=10**9)
  assert len(calls) == 200

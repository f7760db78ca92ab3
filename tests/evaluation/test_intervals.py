"""Intervals and McNemar's test against exact binomials and plain loops."""

import numpy as np
import pytest
from scipy import stats

from vivit_jax.evaluation import intervals


@pytest.mark.parametrize('correct', [1, 5, 8])
def test_the_interval_of_a_share_is_clopper_pearsons(correct):
  """At each end, results as extreme have probability 2.5%."""
  low, high = intervals.of_share(np.arange(9) < correct)
  assert stats.binom(9, low).sf(correct - 1) == pytest.approx(0.025)
  assert stats.binom(9, high).cdf(correct) == pytest.approx(0.025)


def test_all_or_none_correct_is_not_certain():
  """Eight of eight have probability 2.5% where the share is its eighth root."""
  edge = 0.025 ** (1 / 8)
  assert intervals.of_share(np.ones(8, bool)) == (pytest.approx(edge), 1)
  assert intervals.of_share(np.zeros(8, bool)) == (0, pytest.approx(1 - edge))


def mean_of(values):
  return lambda counts: float(counts @ values / counts.sum())


def test_the_bootstrap_of_a_share_is_binomial():
  """The mean of n draws, r of n correct, is Binomial(n, r / n) / n."""
  right = np.arange(200) < 150
  found = intervals.of_difference(mean_of(right), 200)
  exact = stats.binom(200, 0.75).ppf([0.025, 0.975]) / 200
  np.testing.assert_allclose(found, exact, atol=1.01 / 200)
  assert intervals.of_difference(mean_of(right), 200) == found
  assert intervals.of_difference(lambda counts: 0.5, 1) == (0.5, 0.5)


def test_metrics_of_many_values_have_fewer_draws():
  calls = []

  def metric(counts):
    calls.append(counts.sum())
    return 0.0

  intervals.of_difference(metric, 3, values=10**9)
  assert 100 <= len(calls) <= 102 and set(calls) == {3}


@pytest.mark.parametrize(
  ('first', 'second', 'p'),
  [
    (0, 0, 1.0),
    (0, 5, 2 / 32),  # both tails of five tosses
    (1, 5, 2 * (1 + 6) / 64),
    (8, 2, 2 * (1 + 10 + 45) / 1024),
  ],
)
def test_mcnemar_by_hand(first, second, p):
  assert intervals.mcnemar(first, second) == pytest.approx(p)
  assert intervals.mcnemar(second, first) == pytest.approx(p)

"""Bootstrap intervals against exact binomials and against plain resampling."""

import numpy as np
import pytest
from scipy import stats

from vivit_jax.evaluation import intervals


def test_of_right_and_wrong_it_is_the_binomials():
  """The mean of n drawn of r right ones is Binomial(n, r / n) / n."""
  right = np.arange(200) < 150
  low, high = intervals.bootstrap(right)
  exact = stats.binom(200, 0.75).ppf([0.025, 0.975]) / 200
  np.testing.assert_allclose((low, high), exact, atol=1.01 / 200)
  assert intervals.bootstrap(right) == (low, high)
  low99, high99 = intervals.bootstrap(right, level=0.99)
  assert low99 < low < 0.75 < high < high99


def test_against_drawing_the_examples():
  values = np.repeat([-1.0, 0.0, 1.0], [10, 70, 40])
  rng = np.random.default_rng(3)
  means = rng.choice(values, (20000, len(values))).mean(axis=1)
  expected = np.quantile(means, [0.025, 0.975])
  found = intervals.bootstrap(values)
  np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize('value', [0, 1])
def test_of_equal_values_it_is_that_value(value):
  assert intervals.bootstrap(np.full(7, value)) == (value, value)


def test_all_right_or_all_wrong_is_not_sure():
  """Eight right are as likely as 2.5% where the share is its eighth root."""
  edge = 0.025 ** (1 / 8)
  low, high = intervals.of_share(np.ones(8))
  assert (low, high) == (pytest.approx(edge), 1)
  low, high = intervals.of_share(np.zeros(8))
  assert (low, high) == (0, pytest.approx(1 - edge))
  low, high = intervals.of_share(np.ones(8), level=0.5)
  assert low == pytest.approx(0.25 ** (1 / 8))


def test_of_some_right_it_is_the_bootstraps():
  right = np.arange(9) < 2
  assert intervals.of_share(right) == intervals.bootstrap(right)

"""McNemar's test and differences, by hand."""

import numpy as np
import pytest

from vivit_jax.evaluation import paired


@pytest.mark.parametrize(
  ('first', 'second', 'p'),
  [
    (0, 0, 1.0),
    (5, 5, 1.0),
    (0, 5, 2 / 32),  # both tails of five tosses
    (1, 5, 2 * (1 + 6) / 64),
    (8, 2, 2 * (1 + 10 + 45) / 1024),
  ],
)
def test_mcnemar_by_hand(first, second, p):
  assert paired.mcnemar(first, second) == pytest.approx(p)
  assert paired.mcnemar(second, first) == pytest.approx(p)


def test_a_comparison_by_hand():
  #           both      first  second      neither
  first = np.array([1] * 50 + [1] * 2 + [0] * 8 + [0] * 40)
  second = np.array([1] * 50 + [0] * 2 + [1] * 8 + [0] * 40)
  found = paired.compare(first, second)
  assert (found.first, found.second) == (0.52, 0.58)
  assert found.difference == pytest.approx(0.06)
  assert (found.only_first, found.only_second) == (2, 8)
  assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
  # The difference's own error: sqrt((10 / 100 - 0.06 ** 2) / 100) is 0.031.
  low, high = found.interval
  assert low == pytest.approx(0.06 - 1.96 * 0.031, abs=0.011)
  assert high == pytest.approx(0.06 + 1.96 * 0.031, abs=0.011)
  back = paired.compare(second, first)
  assert back.difference == pytest.approx(-0.06)
  assert back.p == found.p


def test_the_same_model_twice():
  right = np.array([1, 0, 1])
  found = paired.compare(right, right)
  assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)


def test_other_examples_are_no_pairs():
  with pytest.raises(ValueError, match='not paired'):
    paired.compare(np.ones(3), np.ones(4))

"""Confidence intervals and McNemar's test, computed with scipy."""

from collections.abc import Callable

import numpy as np
from scipy import stats

LEVEL = 0.95
SEED = 0
# Bootstrap draws: at most _MAX_VALUES values over all draws, which takes
# seconds.
_MAX_DRAWS, _MIN_DRAWS, _MAX_VALUES = 2000, 100, 4e8


def of_share(right: np.ndarray) -> tuple[float, float]:
  """Returns the exact 95% interval of an accuracy (Clopper and Pearson 1934).

  `right`, bool [n], says whether each example is correct; n is at least 1.
  """
  correct = int(np.count_nonzero(right))
  interval = stats.binomtest(correct, len(right)).proportion_ci(LEVEL, 'exact')
  return float(interval.low), float(interval.high)


def of_difference(
  difference: Callable[[np.ndarray], float], examples: int, values: int = 0
) -> tuple[float, float]:
  """Returns the 95% paired bootstrap interval of a difference between models.

  It is the percentile interval of Efron and Tibshirani 1993, chapter 13. Each
  draw has the same examples for both models.

  Args:
    difference: maps counts to second metric - first metric; counts is int [n],
      how often each example is drawn.
    examples: n.
    values: number of values that the metric reads in one draw; n if 0.
  """
  if examples < 2:  # every draw is the same, which scipy refuses
    value = difference(np.ones(examples, int))
    return value, value
  draws = _MAX_VALUES // max(values, examples)
  interval = stats.bootstrap(
    (np.arange(examples),),
    lambda rows: difference(np.bincount(rows, minlength=examples)),
    n_resamples=int(np.clip(draws, _MIN_DRAWS, _MAX_DRAWS)),
    batch=10,  # draws in memory at a time
    vectorized=False,
    confidence_level=LEVEL,
    method='percentile',
    rng=np.random.default_rng(SEED),
  ).confidence_interval
  return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
  """Returns the two-sided p of McNemar's exact (binomial) test.

  Arguments are the numbers of examples that only one model has correct.
  """
  differing = only_first + only_second
  if not differing:
    return 1.0
  return float(stats.binomtest(only_first, differing).pvalue)

"""Confidence intervals and McNemar's test, by scipy."""

from collections.abc import Callable

import numpy as np
from scipy import stats

LEVEL = 0.95
SEED = 0
# Draws of a bootstrap. Metrics of many values have fewer, to end in seconds.
_MAX_DRAWS, _MIN_DRAWS, _MAX_VALUES = 2000, 100, 4e8


def of_share(right: np.ndarray) -> tuple[float, float]:
  """Returns the exact 95% interval of the share of correct examples.

  Clopper and Pearson, Biometrika 26, 1934.

  Args:
    right: bool [n], n at least 1.
  """
  correct = int(np.count_nonzero(right))
  interval = stats.binomtest(correct, len(right)).proportion_ci(LEVEL, 'exact')
  return float(interval.low), float(interval.high)


def of_difference(
  difference: Callable[[np.ndarray], float], examples: int, values: int = 0
) -> tuple[float, float]:
  """Returns the 95% paired bootstrap interval of a difference of two metrics.

  The percentile interval of Efron and Tibshirani, An Introduction to the
  Bootstrap, 1993, chapter 13. Examples are drawn, with replacement, for both
  metrics at once. The seed is fixed.

  Args:
    difference: counts -> second metric - first metric; counts is int [n], how
      often each example is drawn.
    examples: n.
    values: that one draw of the metric goes through; n if 0.
  """
  if examples < 2:  # every draw is the same, which scipy refuses
    value = difference(np.ones(examples, int))
    return value, value
  draws = _MAX_VALUES // max(values, examples)
  interval = stats.bootstrap(
    (np.arange(examples),),
    lambda rows: difference(np.bincount(rows, minlength=examples)),
    n_resamples=int(np.clip(draws, _MIN_DRAWS, _MAX_DRAWS)),
    batch=10,  # of draws in memory
    vectorized=False,
    confidence_level=LEVEL,
    method='percentile',
    rng=np.random.default_rng(SEED),
  ).confidence_interval
  return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
  """Returns the two-sided p of McNemar's test, exact by the binomial.

  McNemar, Psychometrika 12, 1947: if two models are equally good, an example
  that only one of them has correct is either's with probability 1/2.

  Args:
    only_first, only_second: examples that only one of the models has correct.
  """
  differing = only_first + only_second
  if not differing:
    return 1.0
  return float(stats.binomtest(only_first, differing).pvalue)

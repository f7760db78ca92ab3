"""How far a mean over examples could be off by their chance alone."""

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 10_000
SEED = 0


def of_share(
  right: np.ndarray,
  *,
  level: float = LEVEL,
  draws: int = DRAWS,
  seed: int = SEED,
) -> tuple[float, float]:
  """Returns the interval of the share of examples that are right.

  That of `bootstrap`; but where all are right, or none is, each draw is the
  same, and its interval nothing. There it is the exact one of a binomial:
  Clopper and Pearson, Biometrika 26, 1934.

  Args:
    right: bool [n], n at least 1.
    level, draws, seed: as `bootstrap` takes them.
  """
  right = np.asarray(right, bool)
  count = int(np.count_nonzero(right))
  if 0 < count < len(right):
    return bootstrap(right, level=level, draws=draws, seed=seed)
  found = stats.binomtest(count, len(right)).proportion_ci(level, 'exact')
  return float(found.low), float(found.high)


def bootstrap(
  values: np.ndarray,
  *,
  level: float = LEVEL,
  draws: int = DRAWS,
  seed: int = SEED,
) -> tuple[float, float]:
  """Returns the percentile bootstrap interval of a mean.

  Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: n
  examples are drawn with replacement, again and again, and the interval holds
  the middle of their means. How often each value is then drawn is multinomial,
  and drawn as such: the same distribution as of drawing the examples, without
  their draws in memory.

  Args:
    values: [n], of each example; few different ones, as of right or wrong.
    level: share of the means that the interval holds.
    draws: how many means.
    seed: of the draws: the same values have the same interval.
  """
  values = np.asarray(values, np.float64)
  distinct, counts = np.unique(values, return_counts=True)
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(len(values), counts / len(values), size=draws)
  means = drawn @ distinct / len(values)
  outside = (1 - level) / 2
  low, high = np.quantile(means, [outside, 1 - outside])
  return float(low), float(high)

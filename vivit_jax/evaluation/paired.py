"""Two models on the same examples: which one is right more often.

What both have right, or both wrong, says nothing of their difference; so this
tells smaller differences from chance than two intervals side by side do.
"""

import dataclasses

import numpy as np
from scipy import stats

from vivit_jax.evaluation import intervals


@dataclasses.dataclass(frozen=True)
class Paired:
  """A comparison of two models on the same n examples.

  Attributes:
    first, second: shares of the examples that each has right.
    difference: second - first.
    interval: bootstrap interval of the difference.
    only_first, only_second: examples that one of them alone has right.
    p: of McNemar's exact test, that a difference as large comes of chance.
  """

  first: float
  second: float
  difference: float
  interval: tuple[float, float]
  only_first: int
  only_second: int
  p: float


def compare(
  first: np.ndarray,
  second: np.ndarray,
  *,
  level: float = intervals.LEVEL,
  draws: int = intervals.DRAWS,
  seed: int = intervals.SEED,
) -> Paired:
  """Compares two models by the examples that they have right.

  Args:
    first, second: bool [n], n at least 1, of the same examples in the same
      order.
    level, draws, seed: of the interval, as `intervals.bootstrap` takes them.
  """
  first, second = np.asarray(first, bool), np.asarray(second, bool)
  if first.shape != second.shape:
    raise ValueError(f'{first.shape} and {second.shape} are not paired')
  difference = second.astype(np.int64) - first.astype(np.int64)
  only_first, only_second = (
    int(np.count_nonzero(difference == sign)) for sign in (-1, 1)
  )
  return Paired(
    first=float(np.mean(first)),
    second=float(np.mean(second)),
    difference=float(np.mean(difference)),
    interval=intervals.bootstrap(
      difference, level=level, draws=draws, seed=seed
    ),
    only_first=only_first,
    only_second=only_second,
    p=mcnemar(only_first, only_second),
  )


def mcnemar(only_first: int, only_second: int) -> float:
  """Returns the two-sided p of McNemar's test, exact by the binomial.

  McNemar, Psychometrika 12, 1947: were the models equally good, each example
  that one alone has right would be either's with probability 1/2.
  """
  differing = only_first + only_second
  if not differing:
    return 1.0
  return float(stats.binomtest(only_first, differing, 0.5).pvalue)

"""Scores that are no mean over examples, of examples drawn with replacement.

Each is a function of how often every example is drawn, int [n]; once each gives
the score itself.
"""

from collections.abc import Callable

import numpy as np

from vivit_jax.evaluation import calibration, intervals

_DRAWS = 1000
# A ranking of many examples and classes takes long: fewer draws, then.
_FEWEST, _NUMBERS = 100, 4e8

Score = Callable[[np.ndarray], float]


def interval(
  first: Score, second: Score, examples: int, numbers: int = 0
) -> tuple[float, float]:
  """Returns the percentile bootstrap interval of second - first.

  The same draws for both: what is hard for both says nothing of the difference.

  Args:
    first, second: scores of the same examples.
    examples: n.
    numbers: how many each draw goes through; of many, there are fewer draws.
  """
  draws = _DRAWS
  if numbers:
    draws = int(np.clip(_NUMBERS / numbers, _FEWEST, _DRAWS))
  rng = np.random.default_rng(intervals.SEED)
  differences = []
  for _ in range(draws):
    places = rng.integers(0, examples, examples)
    times = np.bincount(places, minlength=examples)
    differences.append(second(times) - first(times))
  outside = (1 - intervals.LEVEL) / 2
  low, high = np.quantile(differences, [outside, 1 - outside])
  return float(low), float(high)


def class_mean(right: np.ndarray, labels: np.ndarray) -> Score:
  """Returns the mean of the classes' accuracies; as `metrics` has it.

  Args:
    right: bool [n].
    labels: int [n].
  """

  def score(times: np.ndarray) -> float:
    every = np.bincount(labels, times)
    correct = np.bincount(labels, times * right, minlength=len(every))
    return float(np.mean(correct[every > 0] / every[every > 0]))

  return score


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> Score:
  """Returns the expected calibration error; as `calibration` has it.

  Args:
    probabilities: [n, K].
    labels: int [n].
  """
  confidence = probabilities.max(axis=1)
  right = probabilities.argmax(axis=1) == labels
  place = np.ceil(confidence * calibration.BINS).astype(int) - 1
  place = np.clip(place, 0, calibration.BINS - 1)
  gap = right - confidence

  def score(times: np.ndarray) -> float:
    gaps = np.bincount(place, times * gap)
    return float(np.abs(gaps).sum() / times.sum())

  return score


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> Score:
  """Returns the mean average precision; as `metrics` has it.

  An example that is drawn twice has the rank of its later copy, twice.

  Args:
    scores: [n, K].
    labels: [n, K], above 0 at each label.
  """
  labels = np.asarray(labels) > 0
  kept = labels.any(axis=0)  # of others there is no precision in any draw
  labels, scores = labels[:, kept], scores[:, kept]
  order = np.stack(
    [np.lexsort((label, -x)) for x, label in zip(scores.T, labels.T)]
    or [np.zeros(len(scores), int)]
  )
  ranked = (
    np.take_along_axis(labels.T, order, axis=1)
    if kept.any()
    else np.zeros(order.shape, bool)
  )

  def score(times: np.ndarray) -> float:
    drawn = times[order]
    right = drawn * ranked
    precision = np.cumsum(right, axis=1) / np.maximum(
      np.cumsum(drawn, axis=1), 1
    )
    there = right.sum(axis=1)
    some = there > 0
    if not some.any():
      return 0.0
    total = (right * precision).sum(axis=1)
    return float(np.mean(total[some] / there[some]))

  return score

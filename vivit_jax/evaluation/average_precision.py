"""Average precision of each class of a multi-label head."""

import numpy as np


class Ranking:
  """All examples, sorted by the score of each class, highest first.

  They are sorted only once, not for each bootstrap draw. In ties, examples
  without the label rank first, so a tie never raises the precision.

  Args:
    scores: [n, K].
    labels: [n, K], above 0 where the example has the label.
  """

  def __init__(self, scores: np.ndarray, labels: np.ndarray):
    self._classes = []  # for each: sorted examples, ranks of those labelled
    for scores_n, right_n in zip(
      np.asarray(scores).T, np.asarray(labels).T > 0, strict=True
    ):
      order = np.lexsort((right_n, -scores_n))
      self._classes.append((order, np.flatnonzero(right_n[order])))

  def average_precisions(self, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns the average precision of each class, float [K].

    It is the mean precision at the ranks of the examples with the label, or NaN
    without any. `counts`, int [n], is how often each example counts; None:
    once. All copies have the rank of the last one.
    """
    precisions = np.full(len(self._classes), np.nan)
    for k, (order, ranks) in enumerate(self._classes):
      drawn = np.ones(len(order), int) if counts is None else counts[order]
      right = drawn[ranks]
      if right.any():
        ranked = np.maximum(np.cumsum(drawn)[ranks], 1)
        precisions[k] = np.average(np.cumsum(right) / ranked, weights=right)
    return precisions

  def mean(self, counts: np.ndarray | None = None) -> float:
    """Returns the mean average precision; 0 if no class has an example."""
    precisions = self.average_precisions(counts)
    seen = ~np.isnan(precisions)
    return float(precisions[seen].mean()) if seen.any() else 0.0

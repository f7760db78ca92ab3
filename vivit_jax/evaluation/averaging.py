"""Averages logits or probabilities over views, in numpy."""

from collections.abc import Sequence

import numpy as np
from scipy import special


def average_views(
  logits: np.ndarray,
  average: str,
  several_labels: bool,
  views: Sequence[int] | None = None,
) -> np.ndarray:
  """Averages logits [n, V, K] over views; returns float64 scores [n, K].

  Args:
    logits: [n, V, K].
    average: 'logits' (the paper, section 4.1); or 'probabilities', for the
      logarithm of the mean probability.
    several_labels: whether the head is multi-label (sigmoid, not softmax).
    views: indices of the views to average; None: all.
  """
  chosen = range(logits.shape[1]) if views is None else views
  total = None
  for view in chosen:  # all views in float64 would need too much memory
    value = logits[:, view].astype(np.float64)
    if average == 'logits':
      total = value if total is None else total + value
    else:
      value = log_probabilities(value, 'logits', several_labels)
      total = value if total is None else np.logaddexp(total, value)
  if average == 'logits':
    return total / len(chosen)
  return total - np.log(len(chosen))


def probabilities(
  scores: np.ndarray, average: str, several_labels: bool
) -> np.ndarray:
  """Returns probabilities [n, K]; arguments as in `log_probabilities`."""
  return np.exp(log_probabilities(scores, average, several_labels))


def log_probabilities(
  scores: np.ndarray, average: str, several_labels: bool
) -> np.ndarray:
  """Returns float64 log-probabilities [n, K] of a result of `average_views`."""
  scores = np.asarray(scores, np.float64)
  if average == 'probabilities':
    return scores
  if several_labels:
    return special.log_expit(scores)
  return special.log_softmax(scores, axis=-1)

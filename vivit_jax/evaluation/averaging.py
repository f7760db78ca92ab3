"""Averages over views, of logits or of probabilities, in numpy."""

from collections.abc import Sequence

import numpy as np


def average_views(
  logits: np.ndarray,
  average: str,
  several_labels: bool,
  views: Sequence[int] | None = None,
) -> np.ndarray:
  """Returns float64 scores [n, K] of logits [n, V, K], averaged over views.

  The paper averages logits (section 4.1). Other repositories average
  probabilities; the mean's logarithm ranks as it does, and its softmax is the
  mean again.

  Args:
    logits: [n, V, K].
    average: 'logits' or 'probabilities'.
    several_labels: of the head: probabilities are sigmoids, not a softmax.
    views: places among the V views; None: all.
  """
  chosen = range(logits.shape[1]) if views is None else views
  total = None
  for view in chosen:  # one after another, lest all be there in float64
    value = logits[:, view].astype(np.float64)
    if average == 'logits':
      total = value if total is None else total + value
    else:
      value = log_sigmoid(value) if several_labels else log_softmax(value)
      total = value if total is None else np.logaddexp(total, value)
  if average == 'logits':
    return total / len(chosen)
  return total - np.log(len(chosen))


def probabilities(
  scores: np.ndarray, average: str, several_labels: bool
) -> np.ndarray:
  """Returns the probabilities [n, K] of what `average_views` returned."""
  return np.exp(log_probabilities(scores, average, several_labels))


def log_probabilities(
  scores: np.ndarray, average: str, several_labels: bool
) -> np.ndarray:
  """Returns float64 logarithms of the probabilities that scores stand for.

  Args:
    scores: [n, K], as `average_views` returned them.
    average: what it averaged.
    several_labels: of the head: probabilities are sigmoids, not a softmax.
  """
  if average == 'probabilities':
    return np.asarray(scores, np.float64)
  return log_sigmoid(scores) if several_labels else log_softmax(scores)


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Turns logits [..., K] into float64 logarithms of probabilities."""
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
  """Turns logits into float64 logarithms of probabilities, each for itself."""
  return -np.logaddexp(0.0, -np.asarray(logits, np.float64))

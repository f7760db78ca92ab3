"""Losses of finished predictions, in numpy on the host."""

from collections.abc import Mapping

import numpy as np


def cross_entropies(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
  """Returns cross-entropies without label smoothing, means over examples.

  Args:
    logits, labels: as of `metrics.scores`. Of a head with several labels a
      video, every class is a yes or no of its own, and the classes are summed.
    weights: what a head's loss is multiplied with in the sum; 1 of those
      without.

  Returns:
    '<head>/loss' of each head; and 'loss', the sum over heads.
  """
  found = {}
  for head, head_logits in logits.items():
    x = np.asarray(head_logits, np.float64)
    head_labels = np.asarray(labels[head])
    if head_labels.ndim == 2:
      loss_n = (np.logaddexp(0.0, x) - x * head_labels).sum(axis=1)
    else:
      right_n = np.take_along_axis(x, head_labels[:, None], axis=1)[:, 0]
      loss_n = np.logaddexp.reduce(x, axis=1) - right_n
    found[f'{head}/loss'] = float(loss_n.mean())
  weights = weights or {}
  whole = sum(weights.get(h, 1.0) * found[f'{h}/loss'] for h in logits)
  return found | {'loss': float(whole)}

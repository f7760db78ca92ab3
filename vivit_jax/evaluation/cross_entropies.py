"""Cross-entropy of logits, in numpy on the host."""

from collections.abc import Mapping

import numpy as np


def cross_entropies(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
  """Returns mean cross-entropies over examples, without label smoothing.

  They are '<head>/loss' of each head, and 'loss', their sum with `weights`, 1
  if missing. For a multi-label head, binary cross-entropies are summed over
  classes. Logits and labels are those of `metrics.scores`.
  """
  losses = {}
  for head, head_logits in logits.items():
    x = np.asarray(head_logits, np.float64)
    head_labels = np.asarray(labels[head])
    if head_labels.ndim == 2:
      loss_n = (np.logaddexp(0.0, x) - x * head_labels).sum(axis=1)
    else:
      right_n = np.take_along_axis(x, head_labels[:, None], axis=1)[:, 0]
      loss_n = np.logaddexp.reduce(x, axis=1) - right_n
    losses[f'{head}/loss'] = float(loss_n.mean())
  weights = weights or {}
  whole = sum(weights.get(h, 1.0) * losses[f'{h}/loss'] for h in logits)
  return losses | {'loss': float(whole)}

"""Section of one head: confusion matrix, classes, calibration, mistakes."""

from typing import Any

import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import calibration, metrics
from vivit_jax.evaluation.page import charts, confusion, mistakes
from vivit_jax.evaluation.predictions import Table

_MAX_MISTAKES = 24  # over all heads


def section(
  head: str,
  table: Table,
  scores: np.ndarray,
  probabilities: np.ndarray,
  source: VideoSplit | None,
) -> dict[str, Any]:
  """Returns the values for the template's section of a head.

  `scores` and `probabilities` are float [n, K], averaged over views. Without
  the split `source`, mistakes are shown without frames.
  """
  labels, names = table.labels[head], list(table.class_names[head])
  values = {'pairs': None, 'calibration': None}
  if labels.ndim == 1:
    guesses = metrics.top_k(scores, 1)[:, 0]
    counts = metrics.confusion(guesses, labels, len(names))
    values |= confusion.parts(counts, names)
    confidence = probabilities.max(axis=1)
    values['calibration'] = _calibration(confidence, guesses == labels)
  limit = max(_MAX_MISTAKES // len(table.logits), 1)
  wrong = mistakes.surest(scores, probabilities, labels, names, limit)
  for mistake in wrong:
    example = table.ids[mistake['row']]
    mistake |= {'example': example, **mistakes.frames(source, example)}
  return {**values, **_classes(scores, labels, names), 'mistakes': wrong}


def _classes(
  scores: np.ndarray, labels: np.ndarray, names: list[str]
) -> dict[str, Any]:
  """Returns the score of each class that has videos, worst first."""
  found = metrics.per_class(scores, labels)
  single = labels.ndim == 1
  key = 'accuracy' if single else 'average_precision'
  values, counts = np.array(found[key], float), np.array(found['count'])
  present = np.flatnonzero(counts > 0)
  order = present[np.lexsort((present, -counts[present], values[present]))]
  return {
    'measure': key.replace('_', ' '),
    'missing': len(names) - len(order),
    'classes': [
      {
        'name': names[k],
        'value': float(values[k]),
        'count': int(counts[k]),
        'right': int(found['correct'][k]) if single else None,
      }
      for k in order
    ],
  }


def _calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
  """Returns the accuracy of the first guess for each bin of its probability."""
  bins = calibration.bins(confidence, right)
  some, edges = bins.count > 0, np.linspace(0, 1, len(bins.count) + 1)
  model = charts.Line(
    'this model',
    100 * bins.confidence[some],
    bins.accuracy[some],
    dots=True,
    videos=bins.count[some].tolist(),
  )
  return {
    'chart': charts.chart(
      'Calibration: accuracy by confidence',
      [model, charts.Line('perfect calibration', [0, 100], [0, 1])],
      x_label='probability of the first guess, in percent',
      percent=True,
    ),
    'rows': np.column_stack(
      [edges[:-1], edges[1:], bins.count, bins.confidence, bins.accuracy]
    )[some].tolist(),
  }

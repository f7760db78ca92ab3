"""What metrics.json says of a table of predictions."""

from typing import Any

from vivit_jax.evaluation import calibration, intervals, metrics, views
from vivit_jax.evaluation.predictions import Table


def summary(table: Table) -> dict[str, Any]:
  """Returns the scores of a table.

  Args:
    table: of at least one example; its protocol says how many temporal and
      spatial views there are, and what of them is averaged.

  Returns:
    'scores': those of `metrics.scores`, and for heads with one label a video
    '<head>/mean_class_accuracy' and '<head>/calibration_error'; 'intervals':
    [low, high] of each top-1 (`intervals.of_share`); 'views': 'temporal',
    'spatial' and 'scores' of each number of views up to the full one; and
    'per_class', `metrics.per_class` of each head.

  Raises:
    UserError: logits that are not finite, or labels that are no class.
  """
  average = table.protocol['average']
  averaged = table.averaged()
  labels = table.labels
  scores = metrics.scores(averaged, labels, average)
  for head, probabilities in table.probabilities().items():
    if labels[head].ndim == 1:
      scores[f'{head}/mean_class_accuracy'] = metrics.mean_class_accuracy(
        averaged[head], labels[head]
      )
      bins = calibration.bins(probabilities, labels[head])
      scores[f'{head}/calibration_error'] = bins.error()
  right = metrics.first_right(averaged, labels)
  return {
    'scores': scores,
    'intervals': {
      f'{name}/top1': list(intervals.of_share(values))
      for name, values in right.items()
    },
    'views': _by_views(table),
    'per_class': {
      head: metrics.per_class(values, labels[head])
      for head, values in averaged.items()
    },
  }


def _by_views(table: Table) -> list[dict[str, Any]]:
  protocol = table.protocol
  temporal, spatial = protocol['temporal_views'], protocol['spatial_crops']
  rows = []
  for t, s in views.counts(temporal, spatial):
    chosen = table.averaged(views=views.some(temporal, spatial, t, s))
    scores = metrics.scores(chosen, table.labels, protocol['average'])
    rows.append({'temporal': t, 'spatial': s, 'scores': scores})
  return rows

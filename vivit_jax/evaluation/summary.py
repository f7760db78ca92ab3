"""Computes the content of metrics.json."""

import json
from typing import Any

from vivit_jax import config as configs
from vivit_jax.config import TrainConfig
from vivit_jax.evaluation import calibration, intervals, metrics, views
from vivit_jax.evaluation.predictions import Table


def summary(table: Table, config: TrainConfig | None = None) -> dict[str, Any]:
  """Returns the content of metrics.json.

  Args:
    table: predictions for at least one example; the protocol has
      'temporal_views', 'spatial_crops' and 'average'.
    config: of the evaluation, for 'config'.

  Returns:
    'scores': `metrics.scores`, and for single-label heads
      '<head>/mean_class_accuracy' and '<head>/calibration_error'.
    'intervals': 95% interval [low, high] of each '<head>/top1'.
    'views': 'temporal', 'spatial' and 'scores' for each number of views.
    'per_class': `metrics.per_class` of each head.
    'protocol' and 'config'.

  Raises:
    UserError: logits are not finite, or labels are out of range.
  """
  average, labels = table.protocol['average'], table.labels
  averaged = table.averaged()
  scores = metrics.scores(averaged, labels, average)
  right = metrics.correct(averaged, labels, average)
  for head, probabilities in table.probabilities().items():
    if labels[head].ndim == 1:
      first = right[f'{head}/top1']
      scores[f'{head}/mean_class_accuracy'] = metrics.mean_class_accuracy(
        first, labels[head]
      )
      scores[f'{head}/calibration_error'] = calibration.error(
        probabilities.max(axis=1), first
      )
  return {
    'scores': scores,
    'intervals': {
      name: list(intervals.of_share(values))
      for name, values in right.items()
      if name.endswith('/top1')
    },
    'views': _by_views(table),
    'per_class': {
      head: metrics.per_class(values, labels[head])
      for head, values in averaged.items()
    },
    'protocol': dict(table.protocol),
    'config': config and json.loads(configs.to_json(config)),
  }


def _by_views(table: Table) -> list[dict[str, Any]]:
  """Returns the scores for each number of views, the fewest first."""
  protocol = table.protocol
  temporal, spatial = protocol['temporal_views'], protocol['spatial_crops']
  rows = []
  for t, s in views.counts(temporal, spatial):
    chosen = table.averaged(views=views.some(temporal, spatial, t, s))
    scores = metrics.scores(chosen, table.labels, protocol['average'])
    rows.append({'temporal': t, 'spatial': s, 'scores': scores})
  return rows

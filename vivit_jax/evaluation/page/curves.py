"""Charts of a run's training curves."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.evaluation.page import charts

_MAX_POINTS = 300  # per line; more are averaged over neighbours
_MAX_DOTS = 30  # lines with more points have no dots
_PARTS = {'train': 'training', 'validation': 'validation'}

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def read(workdir: str | os.PathLike) -> Curves:
  """Returns steps and values of each metric in a run's metrics.jsonl.

  Skips invalid lines, because the last line of a live run may be incomplete. A
  missing file has no metrics.
  """
  path = pathlib.Path(workdir, 'metrics.jsonl')
  try:
    lines = path.read_text('utf-8', errors='replace').splitlines()
  except OSError:
    return {}
  points: dict[str, dict[int, float]] = {}
  for line in lines:
    try:
      row = json.loads(line)
      step = int(row.pop('step'))
      for name, value in row.items():
        # For a step that was run twice, the later value counts.
        points.setdefault(name, {})[step] = float(value)
    except (ValueError, KeyError, TypeError, AttributeError):
      continue
  return {
    name: tuple(np.array(column) for column in zip(*sorted(rows.items())))
    for name, rows in points.items()
  }


def training(
  workdir: str | os.PathLike, step: int | None = None
) -> list[dict[str, Any]]:
  """Returns the charts of a run's metrics, with a mark at `step`."""
  curves = read(workdir)
  drawn = [_chart(name, curves, step) for name in _metrics(list(curves))]
  return [chart for chart in drawn if chart]


def thinned(
  steps: np.ndarray, values: np.ndarray
) -> tuple[list[float], list[float]]:
  """Returns at most `_MAX_POINTS` points by averaging over neighbours."""
  parts = min(len(steps), _MAX_POINTS)
  return tuple(
    [float(np.mean(part)) for part in np.array_split(column, parts)]
    for column in (steps, values)
  )


def _metrics(names: list[str]) -> list[str]:
  """Returns the metrics to draw: losses, learning rate, validation metrics."""
  metrics = {name.partition('/')[2] for name in names if '/' in name}
  losses = sorted(name for name in metrics if name.split('/')[-1] == 'loss')
  rate = ['learning_rate'] if 'learning_rate' in metrics else []
  validated = sorted(
    name for name in metrics - {*losses, *rate} if f'validation/{name}' in names
  )
  return losses + rate + validated


def _chart(
  metric: str, curves: Curves, step: int | None
) -> dict[str, Any] | None:
  lines = [
    charts.Line(
      words,
      *thinned(*curves[f'{part}/{metric}']),
      dots=len(curves[f'{part}/{metric}'][0]) <= _MAX_DOTS,
    )
    for part, words in _PARTS.items()
    if f'{part}/{metric}' in curves
  ]
  return charts.chart(
    metric.replace('learning_rate', 'learning rate'),
    lines,
    x_label='step',
    percent=metric.split('/')[-1] in ('top1', 'top5', 'mAP'),
    mark=None if step is None else (step, 'this checkpoint'),
  )

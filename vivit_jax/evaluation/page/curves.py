"""The curves of the run that a checkpoint is of."""

import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from vivit_jax.evaluation.page import charts
from vivit_jax.evaluation.page.document import section

_POINTS = 300  # of a line; of more, each point is the mean of neighbours
_DOTS = 30  # points of a line that are marked
_PARTS = ('train', 'validation')


def read(
  workdir: str | os.PathLike,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns steps and values of each metric of a run, from metrics.jsonl.

  Lines that cannot be read are left out, as the last one of a run that is
  being written may be; without a file there are no metrics.
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
        # Of a step that a run came to twice, the later holds.
        points.setdefault(name, {})[step] = float(value)
    except (ValueError, KeyError, TypeError, AttributeError):
      continue
  return {name: _sorted(rows) for name, rows in points.items()}


def training(workdir: str | os.PathLike, step: int | None = None) -> str:
  """Returns the section of a run's curves; '' where there are none.

  Args:
    workdir: of the run.
    step: of the checkpoint, to point out.
  """
  found = read(workdir)
  figures = [
    _figure(measure, found, step) for measure in _measures(list(found))
  ]
  if not any(figures):
    return ''
  body = f'<div class="grid">{"".join(figures)}</div>'
  return section('Training', body, 'training')


def _measures(names: list[str]) -> list[str]:
  """Returns what is drawn: losses, the rate, and all that is validated."""
  measures = {name.partition('/')[2] for name in names if '/' in name}
  losses = sorted(
    measure for measure in measures if measure.split('/')[-1] == 'loss'
  )
  rate = ['learning_rate'] if 'learning_rate' in measures else []
  validated = sorted(
    measure
    for measure in measures - {*losses, *rate}
    if f'validation/{measure}' in names
  )
  return losses + rate + validated


def _figure(
  measure: str,
  found: Mapping[str, tuple[np.ndarray, np.ndarray]],
  step: int | None,
) -> str:
  parts = [part for part in _PARTS if f'{part}/{measure}' in found]
  lines = [
    charts.Line(
      'training' if part == 'train' else part,
      *thinned(*found[f'{part}/{measure}']),
      dots=len(found[f'{part}/{measure}'][0]) <= _DOTS,
    )
    for part in parts
  ]
  share = measure.split('/')[-1] in ('top1', 'top5', 'mAP')
  return charts.chart(
    measure.replace('learning_rate', 'learning rate'),
    lines,
    x_label='step',
    percent=share,
    mark=None if step is None else (step, 'this checkpoint'),
  )


def _sorted(rows: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
  steps = sorted(rows)
  return np.array(steps), np.array([rows[step] for step in steps])


def thinned(
  steps: np.ndarray, values: np.ndarray
) -> tuple[list[float], list[float]]:
  """Returns at most `_POINTS` points, each a mean of neighbours."""
  parts = min(len(steps), _POINTS)
  return tuple(
    [float(np.mean(part)) for part in np.array_split(column, parts)]
    for column in (steps, values)
  )

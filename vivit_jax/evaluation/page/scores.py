"""Scores as tiles, and accuracy against the number of views."""

from collections.abc import Mapping, Sequence
from typing import Any

from vivit_jax.evaluation.page import charts
from vivit_jax.evaluation.page.document import (
  count,
  name,
  percent,
  section,
  table,
  text,
)

_METRICS = {
  'top1': 'top-1',
  'top5': 'top-5',
  'mAP': 'mean average precision',
  'mean_class_accuracy': 'mean class accuracy',
  'calibration_error': 'calibration error',
}
# Of the many scores, those that are drawn against the number of views.
_DRAWN = ('mAP', 'top1')


def said(score: str) -> str:
  """Returns the name of a score in words, as HTML: 'verb, top-1'."""
  head, _, metric = score.rpartition('/')
  words = text(_METRICS.get(metric, metric.replace('_', ' ')))
  return f'{name(head)}, {words}' if head else f'mean of {words}'


def tiles(results: Mapping[str, Any], heads: Sequence[str]) -> str:
  """Returns the scores with their 95% intervals, head by head.

  Args:
    results: what metrics.json holds.
    heads: of the model; what holds for all of them comes first, where they are
      several.
  """
  intervals = results.get('intervals', {})
  groups: dict[str, list[str]] = {head: [] for head in ('joint', *heads)}
  for score in results['scores']:
    head = score.rpartition('/')[0]
    if head:
      groups.setdefault(head, []).append(score)
    elif len(heads) > 1:
      groups['joint'].append(score)
  parts = []
  if intervals:
    parts.append(
      '<p class="quiet">Below a score, its 95% interval: how far it may be off '
      'by the chance of which videos there are.</p>'
    )
  for head, scores in groups.items():
    if not scores:
      continue
    if len(heads) > 1:
      words = 'All heads' if head == 'joint' else name(head)
      parts.append(f'<h3 class="group">{words}</h3>')
    told = (
      _tile(score, results['scores'][score], intervals.get(score))
      for score in scores
    )
    parts.append(f'<dl class="tiles">{"".join(told)}</dl>')
  return '\n'.join(parts)


def _tile(score: str, value: float, interval: Sequence[float] | None) -> str:
  head, _, metric = score.rpartition('/')
  words = text(_METRICS.get(metric, metric.replace('_', ' ')))
  if head == 'joint':
    words += ' of all at once'
  elif not head:
    words = f'mean of their {words}'
  parts = [
    f'<div class="card"><dt>{words}</dt>',
    f'<dd class="value" title="{value:.6f}">{percent(value)}</dd>',
  ]
  low, high = interval or (value, value)
  parts.append(
    f'<dd><div class="bar" aria-hidden="true" style="--v:{value:.4f};'
    f'--a:{low:.4f};--b:{high:.4f}"><i></i><b></b></div></dd>'
  )
  if interval is not None:
    parts.append(f'<dd class="small">{percent(low)} to {percent(high)}</dd>')
  elif metric == 'calibration_error':
    parts.append('<dd class="small">the lower, the better</dd>')
  return ''.join(parts) + '</div>'


def against_views(results: Mapping[str, Any], heads: Sequence[str]) -> str:
  """Returns the section of accuracy against views; '' if there is one view."""
  rows = results.get('views', [])
  if len(rows) < 2:
    return ''
  drawn = [
    score
    for score in _drawn_scores(rows[0]['scores'], heads)
    if all(score in row['scores'] for row in rows)
  ]
  figures = []
  along, lines_of = 'temporal', 'spatial'
  if all(row['temporal'] == 1 for row in rows):
    along, lines_of = lines_of, along
  for score in drawn:
    lines = []
    for views in sorted({row[lines_of] for row in rows}):
      points = sorted(
        (row[along], row['scores'][score])
        for row in rows
        if row[lines_of] == views
      )
      words = count(views, f'{lines_of} view')
      lines.append(charts.Line(words, *zip(*points), dots=True))
    head, _, metric = score.rpartition('/')
    words = _METRICS.get(metric, metric)
    figures.append(
      charts.chart(
        f'{"all at once" if head == "joint" else head}, {words}',
        lines,
        x_label=f'{along} views',
        percent=True,
      )
    )
  cells = [
    f'<tr><th scope="row">{row["temporal"]} x {row["spatial"]}</th>'
    + ''.join(
      f'<td class="number">{percent(row["scores"][score], 2)}</td>'
      for score in drawn
    )
    + '</tr>'
    for row in rows
  ]
  numbers = table(
    ('temporal x spatial', *(said(score) for score in drawn)),
    cells,
    'accuracy against the number of views',
    numbers=len(drawn),
  )
  numbers = f'<div class="card">{numbers}</div>'
  told = '<p class="quiet">Of the same videos, from the same pass.</p>\n'
  if len(figures) == 1:
    shown = f'<div class="pair">{figures[0]}{numbers}</div>'
  else:
    shown = (
      f'<div class="grid">{"".join(figures)}</div>\n<details class="plain">'
      f'<summary>The same as a table</summary>{numbers}</details>'
    )
  return section('Accuracy against the number of views', told + shown, 'views')


def _drawn_scores(
  scores: Mapping[str, float], heads: Sequence[str]
) -> list[str]:
  """Returns the first score of all heads at once, and of each head."""
  found = []
  for head in ('joint', *heads):
    names = [f'{head}/{metric}' for metric in _DRAWN]
    found += [score for score in names if score in scores][:1]
  return found

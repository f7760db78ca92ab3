"""Sections of the scores and of their change with views; names of scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from vivit_jax.evaluation.page import charts
from vivit_jax.evaluation.page.document import count, isolated

_METRICS = {'top1': 'top-1', 'top5': 'top-5', 'mAP': 'mean average precision'}
# Each head's first of these is charted by number of views.
_DRAWN = ('mAP', 'top1')


def in_words(score: str) -> str:
  """Returns the name of a score in words: 'verb, top-1'."""
  head, _, metric = score.rpartition('/')
  words = _METRICS.get(metric, metric.replace('_', ' '))
  if head == 'joint':
    return f'all heads correct, {words}'
  return f'{isolated(head)}, {words}' if head else f'mean {words}'


def head_titles(heads: Sequence[str]) -> dict[str, str]:
  """Returns the heading of each head's section by its id."""
  one = len(heads) == 1
  return {
    f'head-{number}': 'Classes' if one else f'Head {isolated(head)}'
    for number, head in enumerate(heads)
  }


def tiles(
  results: Mapping[str, Any], heads: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
  """Returns the scores with their 95% intervals, grouped by head.

  Args:
    results: contents of metrics.json.
    heads: of the model; scores over several heads come first.
  """
  groups: dict[str, list[dict[str, Any]]] = {'All heads': []}
  for score, value in results['scores'].items():
    head, _, metric = score.rpartition('/')
    words, group = in_words(score), 'All heads'
    if head in heads:
      words, group = in_words(metric).removeprefix('mean '), head
    elif len(heads) == 1:
      continue  # the mean over one head
    groups.setdefault(group, []).append(
      {
        'name': words,
        'value': value,
        'interval': results['intervals'].get(score),
        'lower_is_better': metric == 'calibration_error',
      }
    )
  return {group: tiles for group, tiles in groups.items() if tiles}


def by_views(
  rows: Sequence[Mapping[str, Any]], heads: Sequence[str]
) -> dict[str, Any] | None:
  """Returns charts and a table of accuracy by number of views, if several."""
  if len(rows) < 2:
    return None
  drawn = []  # a score over all heads, and one of each head
  for head in ('joint', *heads):
    names = [f'{head}/{metric}' for metric in _DRAWN]
    drawn += [name for name in names if name in rows[0]['scores']][:1]
  return {
    'charts': [_views_chart(score, rows) for score in drawn],
    'columns': [in_words(score) for score in drawn],
    'rows': [
      {
        'views': f'{row["temporal"]} x {row["spatial"]}',
        'values': [row['scores'][score] for score in drawn],
      }
      for row in rows
    ],
  }


def _views_chart(
  score: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
  """Returns a chart: temporal views along x, a line per number of spatial ones.

  With one temporal view, x is the number of spatial views.
  """
  x, line = 'temporal', 'spatial'
  if all(row['temporal'] == 1 for row in rows):
    x, line = line, x
  lines = []
  for views in sorted({row[line] for row in rows}):
    points = sorted(
      (row[x], row['scores'][score]) for row in rows if row[line] == views
    )
    words = count(views, f'{line} view')
    lines.append(charts.Line(words, *zip(*points), dots=True))
  return charts.chart(
    in_words(score), lines, x_label=f'{x} views', percent=True
  )

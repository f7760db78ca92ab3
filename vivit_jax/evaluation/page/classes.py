"""Each class of a head: a bar, a score, and how many videos it rests on."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.page.document import name, percent, table, text

_MOST = 1000  # classes that are listed, the worst first
_SEARCHED = 9  # classes among which one looks for a name
_ORDERS = {
  'low': 'lowest first',
  'high': 'highest first',
  'many': 'most videos first',
  'name': 'by name',
}


@dataclasses.dataclass(frozen=True)
class Classes:
  """The scores of the classes of one head.

  Attributes:
    names: of the K classes.
    values: float [K], from 0 to 1; nan of classes without videos.
    counts: int [K], videos that have the label.
    right: int [K], how many of them are right; None where the value is no
      share of them.
    measure: what the values are, in words.
  """

  names: list[str]
  values: np.ndarray
  counts: np.ndarray
  right: np.ndarray | None
  measure: str


def of(scores: np.ndarray, labels: np.ndarray, names: list[str]) -> Classes:
  """Returns the accuracy of each class; the average precision, of several
  labels a video.

  Args:
    scores: [n, K].
    labels: int [n]; or [n, K], above 0 at each label.
    names: K names of the classes.
  """
  found = metrics.per_class(scores, labels)
  single = labels.ndim == 1
  values = found['accuracy' if single else 'average_precision']
  return Classes(
    names,
    np.array(values, np.float64),
    np.array(found['count']),
    np.array(found['correct']) if single else None,
    'accuracy' if single else 'average precision',
  )


def listed(classes: Classes, anchor: str) -> str:
  """Returns a card with a bar for each class, the worst first.

  Args:
    classes: of one head.
    anchor: the id of the table, unique on the page.
  """
  there = np.flatnonzero(classes.counts > 0)
  order = there[
    np.lexsort((there, -classes.counts[there], classes.values[there]))
  ][:_MOST]
  notes = []
  if len(order) < len(there):
    notes.append(f'the {len(order)} worst of {len(there)} classes')
  absent = len(classes.names) - len(there)
  if absent:
    word = 'class has' if absent == 1 else 'classes have'
    notes.append(f'{absent} {word} no videos here')
  note = f'<p class="quiet">{"; ".join(notes)}.</p>\n' if notes else ''
  choice = tools(anchor, _ORDERS) if len(order) >= _SEARCHED else ''
  measure = text(classes.measure)
  last = 'right' if classes.right is not None else 'videos'
  return (
    f'<div class="card long"><h3>Each class: {measure}</h3>\n{note}{choice}'
    + table(
      ('class', '', measure, last),
      [_row(classes, place) for place in order],
      f'{classes.measure} of each class',
      numbers=2,
      kind='classes',
      anchor=anchor,
    )
    + '</div>'
  )


def _row(classes: Classes, place: int) -> str:
  value, total = classes.values[place], classes.counts[place]
  shown = f'{total:,}'
  if classes.right is not None:
    shown = f'{classes.right[place]:,} of {shown}'
  return (
    f'<tr data-value="{value:.6f}" data-count="{total}"><th scope="row">'
    f'<span class="name">{name(classes.names[place])}</span></th>'
    f'<td class="bars"><div class="bar" aria-hidden="true" '
    f'style="--v:{value:.4f}"><i></i></div></td>'
    f'<td class="number">{percent(value)}</td>'
    f'<td class="number">{shown}</td></tr>'
  )


def tools(anchor: str, orders: Mapping[str, str]) -> str:
  """Returns the search and the order, which the page's script makes visible.

  Args:
    anchor: the id of the table whose rows they choose and sort.
    orders: what they are called, the present one first; of 'low' and 'high'
      (of data-value), 'many' (of data-count) and 'name'.
  """
  options = ''.join(
    f'<option value="{order}">{words}</option>'
    for order, words in orders.items()
  )
  return (
    f'<div class="tools" data-for="{anchor}" hidden><label>Find '
    '<input type="search" autocomplete="off" spellcheck="false"></label>'
    f'<label>Order <select autocomplete="off">{options}</select></label>'
    '<output class="quiet"></output></div>\n'
  )

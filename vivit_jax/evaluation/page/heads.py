"""What is told of one head: its classes, confusions and worst mistakes."""

import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import calibration, metrics
from vivit_jax.evaluation.page import charts, classes, confusion, mistakes
from vivit_jax.evaluation.page.document import name, percent, section, table
from vivit_jax.evaluation.predictions import Table


def told(
  head: str,
  number: int,
  table: Table,
  scores: np.ndarray,
  probabilities: np.ndarray,
  source: VideoSplit | None,
) -> str:
  """Returns the section of a head.

  Args:
    head: its name.
    number: its place among the heads, for ids that are unique on the page.
    table: of the predictions.
    scores, probabilities: [n, K] of the head, averaged over views.
    source: of the frames; None: without frames.
  """
  labels = np.asarray(table.labels[head])
  names = [str(each) for each in table.class_names[head]]
  anchor = f'head-{number}'
  each = classes.listed(classes.of(scores, labels, names), f'{anchor}-classes')
  if labels.ndim == 2:
    cards = each
  else:
    guesses = metrics.top_k(scores, 1)[:, 0]
    counts = metrics.confusion(guesses, labels, len(names))
    cards = _side_by_side(
      confusion.matrix(counts, names), confusion.pairs(counts, names)
    ) + _side_by_side(each, _calibration(probabilities, labels))
  most = mistakes.share_of(table.logits)
  found = mistakes.surest(scores, probabilities, labels, most)
  body = (
    f'{cards}\n<h3 class="apart">The surest mistakes</h3>\n<p class="quiet">'
    'Videos of which the first guess is wrong, the highest probability '
    'first.</p>\n' + mistakes.sheets(found, table, head, source)
  )
  return section(title(head, table), body, anchor)


def title(head: str, table: Table) -> str:
  """Returns what a head's section is called, as HTML."""
  return f'Head {name(head)}' if len(table.logits) > 1 else 'Classes'


def _side_by_side(*cards: str) -> str:
  return f'<div class="pair">{"".join(cards)}</div>\n'


def _calibration(probabilities: np.ndarray, labels: np.ndarray) -> str:
  """Returns a chart of how often the model is right where it is how sure."""
  bins = calibration.bins(probabilities, labels)
  some = bins.count > 0
  lines = [
    charts.Line(
      'this model',
      100 * bins.confidence[some],
      bins.accuracy[some],
      dots=True,
      videos=bins.count[some].tolist(),
    ),
    charts.Line('as often as it says', [0, 100], [0, 1]),
  ]
  drawn = charts.chart(
    'Right as often as it says?',
    lines,
    x_label='probability of the first guess, in percent',
    percent=True,
  )
  rows = [
    f'<tr><th scope="row">{place / len(bins.count):.1%} to '
    f'{(place + 1) / len(bins.count):.1%}</th>'
    f'<td class="number">{bins.count[place]:,}</td>'
    f'<td class="number">{percent(bins.confidence[place])}</td>'
    f'<td class="number">{percent(bins.accuracy[place])}</td></tr>'
    for place in np.flatnonzero(some)
  ]
  numbers = table(
    ('probability', 'videos', 'their mean', 'right'),
    rows,
    'how often the first guess is right, by its probability',
    numbers=3,
  )
  return (
    f'<div>{drawn}<p class="quiet">The larger a dot, the more videos.</p>'
    '<details class="plain"><summary>The same as a table</summary>'
    f'<div class="card">{numbers}</div></details></div>'
  )

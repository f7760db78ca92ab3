"""What is told of one head: its classes, confusions and worst mistakes."""

import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.page import classes, confusion, mistakes
from vivit_jax.evaluation.page.document import name, section
from vivit_jax.evaluation.predictions import Table


def told(
  head: str,
  number: int,
  table: Table,
  probabilities: np.ndarray,
  source: VideoSplit | None,
) -> str:
  """Returns the section of a head.

  Args:
    head: its name.
    number: its place among the heads, for ids that are unique on the page.
    table: of the predictions.
    probabilities: [n, K] of the head.
    source: of the frames; None: without frames.
  """
  labels = np.asarray(table.labels[head])
  names = [str(each) for each in table.class_names[head]]
  anchor = f'head-{number}'
  if labels.ndim == 2:
    cards = classes.listed(
      classes.of_labels(probabilities, labels, names), f'{anchor}-classes'
    )
  else:
    guesses = metrics.top_k(probabilities, 1)[:, 0]
    counts = metrics.confusion(guesses, labels, len(names))
    cards = (
      '<div class="pair">'
      + confusion.matrix(counts, names)
      + confusion.pairs(counts, names)
      + '</div>\n'
      + classes.listed(classes.of_confusion(counts, names), f'{anchor}-classes')
    )
  most = mistakes.share_of(table.logits)
  found = mistakes.surest(probabilities, labels, most)
  body = (
    f'{cards}\n<h3 class="apart">The surest mistakes</h3>\n<p class="quiet">'
    'Videos of which the first guess is wrong, the highest probability '
    'first.</p>\n' + mistakes.sheets(found, table, head, source)
  )
  return section(title(head, table), body, anchor)


def title(head: str, table: Table) -> str:
  """Returns what a head's section is called, as HTML."""
  return f'Head {name(head)}' if len(table.logits) > 1 else 'Classes'

"""HTML page that compares two evaluations of the same videos."""

from collections.abc import Sequence
from typing import Any

from vivit_jax.evaluation.comparison import ClassRow, Comparison
from vivit_jax.evaluation.page import document, scores
from vivit_jax.evaluation.page.document import count, isolated

_MAX_CLASSES = 1000  # per head, those with the largest differences


def render(comparison: Comparison, names: Sequence[str]) -> str:
  """Returns the page as HTML; `names` describe A and B."""
  first, second = (isolated(name) for name in names)
  titles = scores.head_titles(list(comparison.classes))
  heads = zip(titles, comparison.classes.values())
  return document.render(
    'B against A',
    [
      f'A: {first}',
      f'B: {second}',
      f'{count(comparison.examples, "video")}, the same for both',
      *(f'Note: {note}.' for note in comparison.notes),
    ],
    {'scores': 'Scores'} | titles,
    compared={
      'scores': comparison.rows,
      'heads': [{'id': id} | _head(rows) for id, rows in heads],
    },
    in_words=scores.in_words,
  )


def _head(rows: Sequence[ClassRow]) -> dict[str, Any]:
  """Returns the classes that differ most, sorted from gain to loss."""
  kept = sorted(rows, key=lambda row: -abs(row.difference))[:_MAX_CLASSES]
  return {
    'counted': all(isinstance(row.first, int) for row in rows),
    'rows': sorted(kept, key=lambda row: -row.difference),
  }

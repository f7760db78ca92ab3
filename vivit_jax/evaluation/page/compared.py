"""HTML page that compares two evaluations of the same videos."""

from collections.abc import Sequence

from vivit_jax.evaluation.comparison import Comparison
from vivit_jax.evaluation.page import document, scores
from vivit_jax.evaluation.page.document import count, isolated


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
      'heads': [{'id': id, 'rows': rows} for id, rows in heads],
    },
    in_words=scores.in_words,
  )

"""Two tables of predictions on the same examples, score by score."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vivit_jax.evaluation import (
  alignment,
  intervals,
  metrics,
  paired,
  resampling,
)
from vivit_jax.evaluation.averaging import log_probabilities
from vivit_jax.evaluation.predictions import Table

_LEVEL = 0.05  # that McNemar's p is below, where one of two is better


@dataclasses.dataclass(frozen=True)
class Row:
  """One score of both; differences are second - first.

  Attributes:
    score: as in metrics.json.
    first, second: its values.
    interval: 95% bootstrap interval of the difference.
    only_first, only_second: examples that one alone has right; None of scores
      that do not count examples.
    p: of McNemar's exact test; likewise.
  """

  score: str
  first: float
  second: float
  interval: tuple[float, float]
  only_first: int | None = None
  only_second: int | None = None
  p: float | None = None

  @property
  def difference(self) -> float:
    return self.second - self.first

  @property
  def better(self) -> str:
    """'A' or 'B', where neither interval nor p leaves a doubt, else ''.

    Of few examples that differ, all for one model, the bootstrap draws no
    others, and its interval is too narrow: McNemar's test is exact there.
    """
    low, high = self.interval
    chance = self.p is not None and self.p >= _LEVEL
    if chance or low <= 0 <= high:
      return ''
    lower_is_better = self.score.endswith('/calibration_error')
    return 'B' if (low > 0) != lower_is_better else 'A'


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """One class of both.

  Attributes:
    name: of the class.
    count: its examples.
    first, second: how many of them are right; average precisions, of several
      labels a video.
  """

  name: str
  count: int
  first: float
  second: float

  @property
  def difference(self) -> float:
    return self.second - self.first


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What `compare` finds.

  Attributes:
    examples: how many are compared.
    notes: sentences on what else differs.
    rows: of each score.
    classes: of each head, the largest gain of the second first; classes without
      examples are left out.
  """

  examples: int
  notes: list[str]
  rows: list[Row]
  classes: dict[str, list[ClassRow]]


def compare(
  first: Table,
  second: Table,
  *,
  heads: Sequence[str] = (),
  common: bool = False,
  average: str | None = None,
) -> Comparison:
  """Compares two models by their predictions for the same examples.

  Args:
    first, second: their predictions, called A and B in what is said.
    heads: to compare; empty: all that both have.
    common: compare what examples both have, where others are there.
    average: over views, of both: 'logits' or 'probabilities'; None: of each
      what its protocol says.

  Raises:
    UserError: other examples, labels or class names, or a head that one lacks.
  """
  chosen = alignment.heads(first, second, heads)
  alignment.check_names(first, second, chosen)
  rows_a, rows_b = alignment.same_examples(first, second, common)
  labels = alignment.same_labels(first, second, chosen, rows_a, rows_b)
  averages = [
    average or table.protocol.get('average', 'logits')
    for table in (first, second)
  ]
  scores = [
    {head: x[rows] for head, x in table.averaged(how).items() if head in chosen}
    for table, rows, how in zip(
      (first, second), (rows_a, rows_b), averages, strict=True
    )
  ]
  classes = {
    head: _classes(
      scores[0][head], scores[1][head], labels[head], first.class_names[head]
    )
    for head in chosen
  }
  notes = alignment.differences(first, second, chosen, averages, len(rows_a))
  return Comparison(
    len(rows_a), notes, _rows(scores, labels, averages), classes
  )


def _rows(
  scores: Sequence[Mapping[str, np.ndarray]],
  labels: Mapping[str, np.ndarray],
  averages: Sequence[str],
) -> list[Row]:
  """Returns each score of both, all heads at once first."""
  first = [metrics.first_right(values, labels) for values in scores]
  rows = []
  if 'joint' in first[0]:
    rows.append(_counted('joint/top1', *(right['joint'] for right in first)))
    five = (
      _tuples(values, labels, how)
      for values, how in zip(scores, averages, strict=True)
    )
    rows.append(_counted('joint/top5', *five))
    means = [
      np.mean([right[head] for head in labels], axis=0) for right in first
    ]
    interval = intervals.bootstrap(means[1] - means[0])
    rows.append(
      Row('top1', *(float(np.mean(mean)) for mean in means), interval)
    )
  for head, label in labels.items():
    values = [each[head] for each in scores]
    rows.append(_counted(f'{head}/top1', *(right[head] for right in first)))
    rows.append(
      _counted(f'{head}/top5', *(_within(each, label) for each in values))
    )
    if label.ndim == 2:
      scored = [resampling.mean_average_precision(x, label) for x in values]
      rows.append(_drawn(f'{head}/mAP', *scored, len(label), label.size))
      continue
    scored = [resampling.class_mean(right[head], label) for right in first]
    rows.append(_drawn(f'{head}/mean_class_accuracy', *scored, len(label)))
    scored = [
      resampling.calibration_error(
        np.exp(log_probabilities(x, how, False)), label
      )
      for x, how in zip(values, averages, strict=True)
    ]
    rows.append(_drawn(f'{head}/calibration_error', *scored, len(label)))
  return rows


def _counted(score: str, first: np.ndarray, second: np.ndarray) -> Row:
  """Returns a score that is the share of the examples that are right."""
  found = paired.compare(first, second)
  return Row(
    score,
    found.first,
    found.second,
    found.interval,
    found.only_first,
    found.only_second,
    found.p,
  )


def _drawn(
  score: str,
  first: resampling.Score,
  second: resampling.Score,
  examples: int,
  numbers: int = 0,
) -> Row:
  """Returns a score that is no mean over examples."""
  once = np.ones(examples, int)
  interval = resampling.interval(first, second, examples, numbers)
  return Row(score, first(once), second(once), interval)


def _within(scores: np.ndarray, labels: np.ndarray, k: int = 5) -> np.ndarray:
  """Returns bool [n]: whether one of the first k guesses is right."""
  return _any_right(metrics.top_k(scores, k), labels).any(axis=1)


def _tuples(
  scores: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], how: str
) -> np.ndarray:
  """Returns bool [n]: whether one of the five likeliest tuples is right."""
  logs = {
    head: log_probabilities(values, how, labels[head].ndim == 2)
    for head, values in scores.items()
  }
  guesses = metrics.top_tuples(logs)
  right = [_any_right(guesses[head], labels[head]) for head in labels]
  return np.all(right, axis=0).any(axis=1)


def _any_right(guesses: np.ndarray, labels: np.ndarray) -> np.ndarray:
  if labels.ndim == 2:
    return np.take_along_axis(labels, guesses, axis=1) > 0
  return guesses == labels[:, None]


def _classes(
  first: np.ndarray,
  second: np.ndarray,
  labels: np.ndarray,
  names: Sequence[str],
) -> list[ClassRow]:
  """Returns the classes that have examples, the largest gain first."""
  one, other = (metrics.per_class(x, labels) for x in (first, second))
  what = 'correct' if labels.ndim == 1 else 'average_precision'
  rows = [
    ClassRow(str(names[place]), count, one[what][place], other[what][place])
    for place, count in enumerate(one['count'])
    if count
  ]
  return sorted(rows, key=lambda row: -row.difference)

"""Paired comparison of two tables of predictions, metric by metric."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vivit_jax.evaluation import alignment, calibration, intervals, metrics
from vivit_jax.evaluation.average_precision import Ranking
from vivit_jax.evaluation.averaging import probabilities
from vivit_jax.evaluation.predictions import Table

_SIGNIFICANCE = 0.05  # McNemar's p must be below it

# Maps counts, int [n], to a metric in which example i counts counts[i] times.
_Metric = Callable[[np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Row:
  """One metric of both models.

  Attributes:
    score: name of the metric, as in metrics.json.
    first, second: value of each model.
    interval: 95% paired bootstrap interval of second - first.
    only_first, only_second: number of examples that only one model has correct;
      None except for '<head>/top1', '<head>/top5' and those of 'joint'.
    p: of McNemar's exact test; None for the same metrics.
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
    """'A' or 'B' if both interval and p are significant, else ''.

    If few examples differ and all favour one model, no bootstrap draw favours
    the other one, so the interval is too narrow. McNemar's test is exact.
    """
    low, high = self.interval
    chance = self.p is not None and self.p >= _SIGNIFICANCE
    if chance or low <= 0 <= high:
      return ''
    lower_is_better = self.score.endswith('/calibration_error')
    return 'B' if (low > 0) != lower_is_better else 'A'


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """One class in both models.

  Attributes:
    name: of the class.
    count: number of examples.
    first, second: number of correct examples; for a multi-label head, average
      precision.
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
  """The result of `compare`.

  Attributes:
    examples: number of compared examples.
    notes: other differences between the two evaluations.
    rows: one for each metric.
    classes: for each head, the largest gain of the second model first, without
      classes that have no examples.
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
    first, second: their predictions, called A and B in messages.
    heads: to compare; empty: all shared heads.
    common: whether to drop examples that only one table has.
    average: 'logits' or 'probabilities', averaged over views in both; None: as
      each table's protocol says.

  Raises:
    UserError: examples, labels or class names differ, or a head is not shared.
  """
  chosen = alignment.shared_heads(first, second, heads)
  rows = alignment.shared_rows(first, second, common)
  labels = alignment.shared_labels(first, second, chosen, rows)
  count, tables = len(rows[0]), (first, second)
  averages = [average or x.protocol.get('average', 'logits') for x in tables]
  scores = [
    {head: x[r] for head, x in table.averaged(how).items() if head in chosen}
    for table, r, how in zip(tables, rows, averages, strict=True)
  ]
  classes = {
    head: _classes([x[head] for x in scores], label, first.class_names[head])
    for head, label in labels.items()
  }
  return Comparison(
    count,
    alignment.differences(first, second, chosen, averages, count),
    _rows(scores, labels, averages),
    classes,
  )


def _rows(
  scores: Sequence[Mapping[str, np.ndarray]],
  labels: Mapping[str, np.ndarray],
  averages: Sequence[str],
) -> list[Row]:
  """Returns a row for each metric, first those over all heads."""
  right = [
    metrics.correct(values, labels, average)
    for values, average in zip(scores, averages, strict=True)
  ]
  both = [_metrics(*each, labels) for each in zip(scores, averages, right)]
  order = ['joint', 'top1', *labels]
  names = sorted(
    both[0], key=lambda name: order.index(name.rpartition('/')[0] or name)
  )
  count, rows = len(next(iter(labels.values()))), []
  for name in names:
    values = (
      labels[name.removesuffix('/mAP')].size if name.endswith('/mAP') else 0
    )
    row = _row(name, *(each[name] for each in both), count, values)
    if name in right[0]:
      row = _with_counts(row, *(each[name] for each in right))
    rows.append(row)
  return rows


def _row(
  name: str,
  first: _Metric,
  second: _Metric,
  examples: int,
  values: int,
) -> Row:
  """Returns the row of a metric; `values` as in `intervals.of_difference`."""
  once = np.ones(examples, int)
  interval = intervals.of_difference(
    lambda counts: second(counts) - first(counts), examples, values
  )
  return Row(name, first(once), second(once), interval)


def _with_counts(row: Row, first: np.ndarray, second: np.ndarray) -> Row:
  """Adds McNemar's test to a row.

  Args:
    row: of an accuracy.
    first, second: bool [n], whether each model has an example correct.
  """
  only = [int(np.count_nonzero(x)) for x in (first & ~second, second & ~first)]
  p = intervals.mcnemar(*only)
  return dataclasses.replace(row, only_first=only[0], only_second=only[1], p=p)


def _metrics(
  scores: Mapping[str, np.ndarray],
  average: str,
  right: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
) -> dict[str, _Metric]:
  """Returns one model's metrics by name; `right` is from `metrics.correct`."""
  by_name = {name: _mean(values) for name, values in right.items()}
  if len(labels) > 1:
    firsts = [right[f'{head}/top1'] for head in labels]
    by_name['top1'] = _mean(np.mean(firsts, axis=0))
  for head, label in labels.items():
    if label.ndim == 2:
      by_name[f'{head}/mAP'] = Ranking(scores[head], label).mean
      continue
    by_name[f'{head}/mean_class_accuracy'] = functools.partial(
      metrics.mean_class_accuracy, right[f'{head}/top1'], label
    )
    by_name[f'{head}/calibration_error'] = functools.partial(
      calibration.error,
      probabilities(scores[head], average, False).max(axis=1),
      right[f'{head}/top1'],
    )
  return by_name


def _mean(values: np.ndarray) -> _Metric:
  return lambda counts: float(counts @ values / counts.sum())


def _classes(
  scores: Sequence[np.ndarray], labels: np.ndarray, names: Sequence[str]
) -> list[ClassRow]:
  """Returns the classes that have examples, the largest gain first."""
  one, other = (metrics.per_class(x, labels) for x in scores)
  values = 'correct' if labels.ndim == 1 else 'average_precision'
  rows = [
    ClassRow(str(names[k]), count, one[values][k], other[values][k])
    for k, count in enumerate(one['count'])
    if count
  ]
  return sorted(rows, key=lambda row: -row.difference)

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

  The last three are None except for '<head>/top1', '<head>/top5' and those of
  'joint'.
  """

  score: str  # name of the metric, as in metrics.json
  first: float
  second: float
  interval: tuple[float, float]  # 95% paired bootstrap, of second - first
  only_first: int | None = None  # number of examples only it has correct
  only_second: int | None = None
  p: float | None = None  # of McNemar's exact test

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
  """One class in both models."""

  name: str
  count: int  # number of examples
  first: float  # number of correct ones, or a multi-label head's AP
  second: float

  @property
  def difference(self) -> float:
    return self.second - self.first


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The result of `compare`."""

  examples: int  # number of compared ones
  notes: list[str]  # on other differences between the two evaluations
  rows: list[Row]  # one for each metric
  # For each head, the classes with examples, the second's largest gain first.
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
  averages = [average or table.average for table in tables]
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
  first, second = (_metrics(*x, labels) for x in zip(scores, averages, right))
  order = ['joint', 'top1', *labels]
  names = sorted(
    first, key=lambda name: order.index(name.rpartition('/')[0] or name)
  )
  count = len(next(iter(labels.values())))
  once = np.ones(count, int)
  rows = []
  for name in names:
    head, _, metric = name.rpartition('/')
    interval = intervals.of_difference(
      lambda counts, name=name: second[name](counts) - first[name](counts),
      count,
      values=labels[head].size if metric == 'mAP' else 0,
    )
    mcnemar = ()
    if name in right[0]:
      one, other = (each[name] for each in right)
      only = [int(np.count_nonzero(x)) for x in (one & ~other, other & ~one)]
      mcnemar = (*only, intervals.mcnemar(*only))
    row = Row(name, first[name](once), second[name](once), interval, *mcnemar)
    rows.append(row)
  return rows


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

"""Classification metrics of n examples, in numpy on the host."""

from collections.abc import Mapping
from typing import Any

import einops
import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.evaluation.average_precision import Ranking
from vivit_jax.evaluation.averaging import log_probabilities


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
  """Returns the k likeliest classes of each example, likeliest first.

  Of equal logits, the lower class index comes first. Takes logits [n, K];
  returns int [n, min(k, K)].
  """
  negated = -np.asarray(logits, np.float64)
  return np.argsort(negated, axis=-1, kind='stable')[:, :k]


def correct(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  average: str = 'logits',
) -> dict[str, np.ndarray]:
  """Returns which examples are correct, bool [n], by metric.

  Args:
    logits: [n, K] of each head, n at least 1; or log-probabilities.
    labels: of each of these heads: int [n], or for a multi-label head float
      [n, K], 1 at each label. There, a predicted class is correct if it is one
      of the labels.
    average: 'probabilities' if `logits` are log-probabilities.

  Returns:
    '<head>/top1' and '<head>/top5' of each head. With several heads also
    'joint/top1' (all heads are correct) and 'joint/top5' (the tuple of labels
    is among the five likeliest tuples of classes; the probability of a tuple is
    the product over heads).

  Raises:
    UserError: logits are not finite, or labels are out of range.
  """
  results = {}
  for head, values in logits.items():
    _check_finite(head, values)
    _check_labels(head, values, labels[head])
    hits = _hits(top_k(values, 5), labels[head])
    results[f'{head}/top1'] = hits[:, 0]
    results[f'{head}/top5'] = hits.any(axis=1)
  if len(logits) > 1:
    firsts = [results[f'{head}/top1'] for head in logits]
    tuples = top_tuples(
      {
        head: log_probabilities(values, average, np.ndim(labels[head]) == 2)
        for head, values in logits.items()
      }
    )
    hits = [_hits(guesses, labels[head]) for head, guesses in tuples.items()]
    results['joint/top1'] = np.all(firsts, axis=0)
    results['joint/top5'] = np.all(hits, axis=0).any(axis=1)
  return results


def scores(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  average: str = 'logits',
) -> dict[str, float]:
  """Returns accuracies and mAP, as fractions.

  Arguments and errors are those of `correct`.

  Returns:
    '<head>/mAP' of multi-label heads; the mean of each entry of `correct`; and
    'top1', the mean of top-1 over heads.
  """
  right = correct(logits, labels, average)
  results = {
    f'{head}/mAP': Ranking(values, labels[head]).mean()
    for head, values in logits.items()
    if np.ndim(labels[head]) == 2
  }
  results |= {name: float(np.mean(values)) for name, values in right.items()}
  top1 = np.mean([right[f'{head}/top1'] for head in logits])
  return results | {'top1': float(top1)}


def cross_entropies(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
  """Returns mean cross-entropies over examples, without label smoothing.

  They are '<head>/loss' of each head, and 'loss', their sum with `weights`, 1
  if missing. For a multi-label head, binary cross-entropies are summed over
  classes. Logits and labels are those of `scores`.
  """
  losses = {}
  for head, head_logits in logits.items():
    x = np.asarray(head_logits, np.float64)
    head_labels = np.asarray(labels[head])
    if head_labels.ndim == 2:
      loss_n = (np.logaddexp(0.0, x) - x * head_labels).sum(axis=1)
    else:
      right_n = np.take_along_axis(x, head_labels[:, None], axis=1)[:, 0]
      loss_n = np.logaddexp.reduce(x, axis=1) - right_n
    losses[f'{head}/loss'] = float(loss_n.mean())
  weights = weights or {}
  whole = sum(weights.get(h, 1.0) * losses[f'{h}/loss'] for h in logits)
  return losses | {'loss': float(whole)}


def top_tuples(
  log_probabilities: Mapping[str, np.ndarray], k: int = 5
) -> dict[str, np.ndarray]:
  """Returns the k likeliest tuples of classes, with one class of each head.

  Keeping k tuples while heads are added is exact: a tuple extends one of the k
  likeliest shorter ones by one of the next head's k likeliest classes.

  Args:
    log_probabilities: [n, K] of each head.
    k: number of tuples; may exceed the number of all tuples.

  Returns:
    int [n, k] of each head: its class in each tuple, likeliest tuple first.
  """
  sums, chosen = None, {}
  for head, values in log_probabilities.items():
    guesses = top_k(values, k)
    own = np.take_along_axis(values, guesses, axis=1)
    if sums is None:
      sums, chosen = own, {head: guesses}
      continue
    every = einops.rearrange(
      sums[:, :, None] + own[:, None, :],
      'n tuples classes -> n (tuples classes)',
    )
    order = top_k(every, k)
    sums = np.take_along_axis(every, order, axis=1)
    tuples, classes = np.divmod(order, own.shape[1])
    chosen = {
      name: np.take_along_axis(x, tuples, axis=1) for name, x in chosen.items()
    }
    chosen[head] = np.take_along_axis(guesses, classes, axis=1)
  return chosen


def per_class(logits: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
  """Returns the metrics of each class of a head, as lists of K.

  Args:
    logits: [n, K].
    labels: int [n]; or float [n, K] of a multi-label head.

  Returns:
    'count', the number of examples; 'correct', how many have a correct first
    prediction; and 'accuracy', correct / count. For a multi-label head, 'count'
    and 'average_precision'. Accuracy and average precision are None for classes
    without examples.
  """
  if np.ndim(labels) == 2:
    counts = np.count_nonzero(np.asarray(labels) > 0, axis=0)
    precisions = Ranking(logits, labels).average_precisions().tolist()
    return {
      'count': counts.tolist(),
      'average_precision': [
        p if n else None for p, n in zip(precisions, counts)
      ],
    }
  right = top_k(logits, 1)[:, 0] == labels
  total, hits = _class_counts(right, labels, classes=logits.shape[1])
  return {
    'count': total.astype(int).tolist(),
    'correct': hits.astype(int).tolist(),
    'accuracy': [float(r / n) if n else None for r, n in zip(hits, total)],
  }


def mean_class_accuracy(
  right: np.ndarray, labels: np.ndarray, counts: np.ndarray | None = None
) -> float:
  """Returns the mean accuracy over the classes that have examples.

  `right` is bool [n], `labels` int [n], and `counts` int [n] how often each
  example counts; None: once.
  """
  total, hits = _class_counts(right, labels, counts)
  seen = total > 0
  return float(np.mean(hits[seen] / total[seen]))


def confusion(
  predicted: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
  """Returns a confusion matrix, int [K, K]: a row for each label."""
  counts = np.zeros((classes, classes), np.int64)
  np.add.at(counts, (labels, predicted), 1)
  return counts


def _class_counts(
  right: np.ndarray,
  labels: np.ndarray,
  counts: np.ndarray | None = None,
  classes: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the number of examples and of correct ones by class, [K] each."""
  total = np.bincount(labels, counts, minlength=classes)
  hits = right if counts is None else right * counts
  return total, np.bincount(labels, hits, minlength=len(total))


def _hits(guesses: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns which guesses [n, k] are correct, bool [n, k]."""
  labels = np.asarray(labels)
  if labels.ndim == 2:
    return np.take_along_axis(labels, guesses, axis=1) > 0
  return guesses == labels[:, None]


def _check_finite(head: str, logits: np.ndarray) -> None:
  broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
  if broken.size:
    raise UserError(
      f'the logits of head {head} are not finite for {broken.size} of '
      f'{len(logits)} examples, first for number {broken[0]}: use an earlier '
      'checkpoint, or train with a lower optim.learning_rate.'
    )


def _check_labels(head: str, logits: np.ndarray, labels: np.ndarray) -> None:
  """Raises a UserError for labels out of range, which would count as wrong."""
  classes = logits.shape[1]
  if np.ndim(labels) == 2:
    return
  outside = np.flatnonzero((labels < 0) | (labels >= classes))
  if outside.size:
    raise UserError(
      f'example {outside[0]} has label {labels[outside[0]]} of head {head}, '
      f'but the model has classes 0 to {classes - 1}: prepare the split with '
      "the training's label names."
    )

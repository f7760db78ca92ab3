"""Scores of finished predictions, in numpy on the host."""

from collections.abc import Mapping

import einops
import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.evaluation.averaging import log_probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
  """Turns logits [..., K] into float64 probabilities [..., K]."""
  logits = np.asarray(logits, np.float64)
  exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return exponentials / exponentials.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
  """Turns logits into float64 probabilities, each for itself."""
  return 1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64)))


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
  """Returns the k likeliest classes of each example, the likeliest first.

  Of equal logits the lower class comes first, so that the answer never
  depends on the sorting algorithm.

  Args:
    logits: [n, K].
    k: how many classes; K where it is larger.

  Returns:
    int [n, min(k, K)].
  """
  negated = -np.asarray(logits, np.float64)
  return np.argsort(negated, axis=-1, kind='stable')[:, :k]


def first_right(
  logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns which examples the first guess is right for, bool [n].

  Of each head, and of 'joint', all heads at once, where there are several;
  arguments and errors are those of `scores`.
  """
  right = {
    head: _right(head, values, labels[head], 1)[:, 0]
    for head, values in logits.items()
  }
  if len(right) > 1:
    right['joint'] = np.all(list(right.values()), axis=0)
  return right


def scores(
  logits: Mapping[str, np.ndarray],
  labels: Mapping[str, np.ndarray],
  average: str = 'logits',
) -> dict[str, float]:
  """Returns accuracies, as fractions of all examples.

  Args:
    logits: [n, K] of each head, n at least 1; or logarithms of probabilities.
    labels: int [n] of each of these heads; float [n, K], 1 at each label, of a
      head with several labels a video: there, a guess is right if it is one of
      them.
    average: 'probabilities' if `logits` are logarithms of probabilities.

  Returns:
    '<head>/top1' and '<head>/top5' of each head (within the first min(5, K)
    classes), and '<head>/mAP' of those with several labels; where there are
    several heads, 'joint/top1', all of them right at once, and 'joint/top5',
    one of the five likeliest tuples of classes right in all heads, of which
    the probability is the product of the heads'; and 'top1', the mean over
    heads of their top-1.

  Raises:
    UserError: logits that are not finite, or labels that are no class.
  """
  found = {}
  for head, values in logits.items():
    right = _right(head, values, labels[head], 5)
    if np.ndim(labels[head]) == 2:
      found[f'{head}/mAP'] = mean_average_precision(values, labels[head])
    found[f'{head}/top1'] = float(np.mean(right[:, 0]))
    found[f'{head}/top5'] = float(np.mean(right.any(axis=1)))
  first = first_right(logits, labels)
  if 'joint' in first:
    logs = {
      head: log_probabilities(values, average, np.ndim(labels[head]) == 2)
      for head, values in logits.items()
    }
    found['joint/top1'] = float(np.mean(first['joint']))
    found['joint/top5'] = float(np.mean(_tuple_right(logs, labels)))
  found['top1'] = float(np.mean([first[head] for head in logits]))
  return found


def top_tuples(
  log_probabilities: Mapping[str, np.ndarray], k: int = 5
) -> dict[str, np.ndarray]:
  """Returns the k likeliest tuples of classes, one of each head.

  Exact without forming all tuples: in a tuple among the k likeliest, every
  class is among its head's k likeliest, and what its first heads have is among
  their k likeliest tuples. Equal sums: lower ranks of the first heads first.

  Args:
    log_probabilities: [n, K] of each head; a tuple's is their sum.
    k: how many; all tuples, where there are fewer.

  Returns:
    int [n, k] of each head: its class in each tuple, the likeliest first.
  """
  sums, chosen = None, {}
  for head, values in log_probabilities.items():
    guesses = top_k(values, k)
    here = np.take_along_axis(values, guesses, axis=1)
    if sums is None:
      sums, chosen = here, {head: guesses}
      continue
    every = einops.rearrange(
      sums[:, :, None] + here[:, None, :],
      'n tuples classes -> n (tuples classes)',
    )
    order = top_k(every, k)
    sums = np.take_along_axis(every, order, axis=1)
    tuples, classes = np.divmod(order, here.shape[1])
    chosen = {
      name: np.take_along_axis(x, tuples, axis=1) for name, x in chosen.items()
    }
    chosen[head] = np.take_along_axis(guesses, classes, axis=1)
  return chosen


def per_class(logits: np.ndarray, labels: np.ndarray) -> dict[str, list]:
  """Returns, of each class, its examples and how many are right.

  Args:
    logits: [n, K] of a head.
    labels: int [n]; or float [n, K] of several labels a video.

  Returns:
    'count', of examples, and 'correct', of those whose first guess it is, and
    'accuracy', their share; with several labels 'count' and
    'average_precision'. None for classes without examples.
  """
  classes = logits.shape[1]
  if np.ndim(labels) == 2:
    counts = np.count_nonzero(np.asarray(labels) > 0, axis=0)
    return {
      'count': counts.tolist(),
      'average_precision': average_precisions(logits, labels),
    }
  right = top_k(logits, 1)[:, 0] == labels
  counts = np.bincount(labels, minlength=classes)
  correct = np.bincount(labels[right], minlength=classes)
  return {
    'count': counts.tolist(),
    'correct': correct.tolist(),
    'accuracy': [float(r / n) if n else None for r, n in zip(correct, counts)],
  }


def mean_class_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean of the classes' accuracies; those without examples do not
  count.

  Args:
    logits: [n, K], n at least 1.
    labels: int [n].
  """
  each = per_class(logits, labels)['accuracy']
  return float(np.mean([value for value in each if value is not None]))


def mean_average_precision(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean over classes of the average precision of a ranking.

  Classes without examples do not count.

  Args:
    logits: [n, K].
    labels: [n, K], above 0 at each label.
  """
  each = average_precisions(logits, labels)
  precisions = [value for value in each if value is not None]
  return float(np.mean(precisions)) if precisions else 0.0


def average_precisions(
  logits: np.ndarray, labels: np.ndarray
) -> list[float | None]:
  """Returns the average precision of each class; None without examples.

  Of a class, the mean, over its examples, of the precision among all examples
  that rank as high or higher.

  Args:
    logits: [n, K].
    labels: [n, K], above 0 at each label.
  """
  precisions = []
  for scores_n, label_n in zip(np.asarray(logits).T, np.asarray(labels).T > 0):
    if not label_n.any():
      precisions.append(None)
      continue
    # Equal scores: the wrong ones first, lest ties be a gain.
    order = np.lexsort((label_n, -scores_n))
    right = label_n[order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    precisions.append(float(share[right].mean()))
  return precisions


def confusion(
  predicted: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
  """Counts examples by label and prediction.

  Args:
    predicted: int [n], classes from 0.
    labels: int [n], classes from 0.
    classes: K.

  Returns:
    int [K, K]; rows are labels, columns predictions.
  """
  counts = np.zeros((classes, classes), np.int64)
  np.add.at(counts, (labels, predicted), 1)
  return counts


def _right(
  head: str, logits: np.ndarray, labels: np.ndarray, k: int
) -> np.ndarray:
  """Returns bool [n, min(k, K)]: which of the first k guesses are right."""
  labels = np.asarray(labels)
  _check_finite(head, logits)
  guesses = top_k(logits, k)
  if labels.ndim == 2:
    return np.take_along_axis(labels, guesses, axis=1) > 0
  _check_classes(head, logits, labels)
  return guesses == labels[:, None]


def _tuple_right(
  log_probabilities: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Returns bool [n]: whether one of the five likeliest tuples is right."""
  right = []
  for head, guesses in top_tuples(log_probabilities).items():
    if np.ndim(labels[head]) == 2:
      right.append(np.take_along_axis(labels[head], guesses, axis=1) > 0)
    else:
      right.append(guesses == labels[head][:, None])
  return np.all(right, axis=0).any(axis=1)


def _check_finite(head: str, logits: np.ndarray) -> None:
  broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
  if broken.size:
    raise UserError(
      f'the model gives logits that are not finite for head {head}, for '
      f'{broken.size} of {len(logits)} examples (the first is number '
      f'{broken[0]}): take an earlier checkpoint, or train with a lower '
      'optim.learning_rate.'
    )


def _check_classes(head: str, logits: np.ndarray, labels: np.ndarray) -> None:
  """Raises a UserError for what would count as a wrong guess in silence."""
  classes = logits.shape[1]
  foreign = np.flatnonzero((labels < 0) | (labels >= classes))
  if foreign.size:
    raise UserError(
      f'example {foreign[0]} has label {labels[foreign[0]]} for head {head}, '
      f'but the model knows classes 0 to {classes - 1}: prepare the split '
      "with the training's label names."
    )

"""Scores of finished predictions, in numpy on the host."""

from collections.abc import Mapping

import numpy as np

from vivit_jax.errors import UserError


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


def scores(
  logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Returns accuracies, as fractions of all examples.

  Args:
    logits: [n, K] of each head.
    labels: int [n] of each of these heads; float [n, K], 1 at each label, of a
      head with several labels a video: there, a guess is right if it is one of
      them.

  Returns:
    '<head>/top1' and '<head>/top5' of each head (within the first min(5, K)
    classes), and '<head>/mAP' of those with several labels; 'joint/top1', all
    heads right at once, where there are several; and 'top1', the mean over
    heads of their top-1.

  Raises:
    UserError: logits that are not finite, or labels that are no class.
  """
  found = {}
  first_right = []
  for head, head_logits in logits.items():
    head_labels = np.asarray(labels[head])
    guesses = top_k(head_logits, 5)
    if head_labels.ndim == 2:
      _check_finite(head, head_logits)
      right = np.take_along_axis(head_labels, guesses, axis=1) > 0
      found[f'{head}/mAP'] = mean_average_precision(head_logits, head_labels)
    else:
      _check(head, head_logits, head_labels)
      right = guesses == head_labels[:, None]
    first_right.append(right[:, 0])
    found[f'{head}/top1'] = float(np.mean(right[:, 0]))
    found[f'{head}/top5'] = float(np.mean(right.any(axis=1)))
  if len(first_right) > 1:
    found['joint/top1'] = float(np.mean(np.all(first_right, axis=0)))
  found['top1'] = float(np.mean(first_right))
  return found


def mean_average_precision(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean over classes of the average precision of a ranking.

  Of a class, the mean, over its examples, of the precision among all examples
  that rank as high or higher; classes without examples do not count.

  Args:
    logits: [n, K].
    labels: [n, K], above 0 at each label.
  """
  precisions = []
  for scores_n, label_n in zip(np.asarray(logits).T, np.asarray(labels).T > 0):
    if label_n.any():
      # Equal scores: the wrong ones first, lest ties be a gain.
      order = np.lexsort((label_n, -scores_n))
      right = label_n[order]
      share = np.cumsum(right) / np.arange(1, len(right) + 1)
      precisions.append(share[right].mean())
  return float(np.mean(precisions)) if precisions else 0.0


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


def _check_finite(head: str, logits: np.ndarray) -> None:
  broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
  if broken.size:
    raise UserError(
      f'the model gives logits that are not finite for head {head}, for '
      f'{broken.size} of {len(logits)} examples (the first is number '
      f'{broken[0]}): take an earlier checkpoint, or train with a lower '
      'optim.learning_rate.'
    )


def _check(head: str, logits: np.ndarray, labels: np.ndarray) -> None:
  """Raises a UserError for what would count as a wrong guess in silence."""
  _check_finite(head, logits)
  classes = logits.shape[1]
  foreign = np.flatnonzero((labels < 0) | (labels >= classes))
  if foreign.size:
    raise UserError(
      f'example {foreign[0]} has label {labels[foreign[0]]} for head {head}, '
      f'but the model knows classes 0 to {classes - 1}: prepare the split '
      "with the training's label names."
    )

"""Targets, losses and accuracies of named heads."""

from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax


def smooth_targets(
  labels_B: jax.Array, classes: int, smoothing: float
) -> jax.Array:
  """Returns smoothed labels, float32 [B, K].

  The label's class gets 1 - smoothing + smoothing / K, every other class
  smoothing / K (Szegedy et al., arXiv 1512.00567). In a multi-label head, each
  class is a yes or no, smoothed with K = 2.

  Args:
    labels_B: int [B]; for a multi-label head, float [B, K].
    classes: K.
    smoothing: from 0 to 1.
  """
  if labels_B.ndim == 2:
    return labels_B * (1.0 - smoothing) + smoothing / 2
  one_hot = jax.nn.one_hot(labels_B, classes)
  return one_hot * (1.0 - smoothing) + smoothing / classes


def class_weights(counts_K: np.ndarray, rule: str, beta: float) -> np.ndarray:
  """Returns the loss weight of each class, float32 [K].

  For a class with n examples, it is proportional to 1 / n ('inverse'),
  1 / sqrt(n) ('inverse_sqrt') or (1 - beta) / (1 - beta^n), the inverse of the
  effective number of samples ('effective': Cui et al., arXiv 1901.05555). The
  mean over all examples is 1, as it is without weights; in that paper, the mean
  over classes is 1.

  Args:
    counts_K: examples of each class, int [K]; a class without any gets 0.
    rule: value of `train.class_weights`.
    beta: for 'effective', at least 0 and below 1; 0 gives equal weights.
  """
  n = np.maximum(counts_K, 1).astype(np.float64)
  weights = {
    'inverse': lambda: 1.0 / n,
    'inverse_sqrt': lambda: 1.0 / np.sqrt(n),
    'effective': lambda: (1.0 - beta) / (1.0 - beta**n),
  }[rule]()
  weights = np.where(counts_K > 0, weights, 0.0)
  return (weights * counts_K.sum() / (weights @ counts_K)).astype(np.float32)


def cross_entropy(
  logits: Mapping[str, jax.Array],
  targets: Mapping[str, jax.Array],
  multi_label: Collection[str] = (),
  weights: Mapping[str, float] | None = None,
  example_weights: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
  """Returns the cross-entropy, float32 []: mean over examples, sum over heads.

  The mean divides by the number of examples, not by the sum of their weights,
  so that it does not depend on how a batch is split over devices.

  Args:
    logits: float32 [B, K] of each head.
    targets: distributions over classes, float32 [B, K] of each head; for a
      multi-label head, the probability of each class.
    multi_label: heads with an independent yes or no per class: sigmoid instead
      of softmax, summed over the classes.
    weights: factor of each head's term; 1 if missing.
    example_weights: factor of each example's term by head, float32 [B]; 1 if
      missing.
  """
  weights, example_weights = weights or {}, example_weights or {}

  def term(head):
    loss_B = _loss(logits[head], targets[head], head in multi_label)
    weighted_B = loss_B * example_weights.get(head, 1.0)
    return weights.get(head, 1.0) * weighted_B.mean()

  return sum(term(head) for head in logits)


def _loss(logits, targets, multi_label: bool) -> jax.Array:
  if multi_label:
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
  return optax.softmax_cross_entropy(logits, targets)


def accuracies(
  logits: Mapping[str, jax.Array], labels: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns the top-1 accuracy of each head as '<head>/top1', float32 [].

  With mixup or cutmix, only the label of the first of the two mixed videos is
  correct, so the accuracy is lower than without mixing.

  Args:
    logits: [B, K] of each head.
    labels: int [B]; or [B, K], 1 at each label, of a multi-label head.
  """

  def correct(head):
    top_B = logits[head].argmax(-1)
    if labels[head].ndim == 2:
      chosen = jnp.take_along_axis(labels[head], top_B[:, None], axis=1)
      return chosen[:, 0] > 0
    return top_B == labels[head]

  return {f'{head}/top1': jnp.mean(correct(head)) for head in logits}

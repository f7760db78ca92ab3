"""Targets and losses of named heads."""

from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax


def smooth_targets(
  labels_B: jax.Array, classes: int, smoothing: float
) -> jax.Array:
  """Returns float32 [B, K]: 1 - smoothing + smoothing / K at the label.

  Every other class gets smoothing / K (Szegedy et al., arXiv 1512.00567). Of
  multi-label labels, [B, K], each class is smoothed as one of two.
  """
  if labels_B.ndim == 2:
    return labels_B * (1.0 - smoothing) + smoothing / 2
  one_hot = jax.nn.one_hot(labels_B, classes)
  return one_hot * (1.0 - smoothing) + smoothing / classes


def class_weights(counts_K: np.ndarray, rule: str, beta: float) -> np.ndarray:
  """Returns float32 [K]: what the loss of a class's examples is multiplied by.

  Of a class with n examples, in proportion to 1 / n ('inverse'), 1 / sqrt(n)
  ('inverse_sqrt'), or (1 - beta) / (1 - beta^n), one over the effective number
  of samples ('effective': Cui et al., arXiv 1901.05555). The mean over all
  examples is 1, as without weights; in that paper, it is 1 over classes.

  Args:
    counts_K: examples of each class, int [K]; a class without any gets 0.
    rule: of `train.class_weights`.
    beta: of 'effective', at least 0 and below 1; 0 gives equal weights.
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
  """Returns the cross-entropy, mean over examples, sum over heads.

  The mean is the sum over the number of examples, whatever their weights: so it
  is the same however a batch is split over devices.

  Args:
    logits: float32 [B, K] of each head.
    targets: distributions over classes, float32 [B, K] of each head; of a
      multi-label head, the probability of each class.
    multi_label: heads of which every class is a yes or no of its own: sigmoid
      instead of softmax, summed over the classes.
    weights: what a head's term is multiplied with; 1 of those without.
    example_weights: what an example's term of a head is multiplied with,
      float32 [B]; 1 of heads without.
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
  """Returns each head's share of right first guesses, as '<head>/top1'.

  With mixup or cutmix, the label of the first of two mixed videos counts as
  right, and the share is lower than it would be of whole videos.

  Args:
    logits: [B, K] of each head.
    labels: int [B], or [B, K], 1 at each label, of a multi-label head.
  """

  def right(head):
    guess_B = logits[head].argmax(-1)
    if labels[head].ndim == 2:
      chosen = jnp.take_along_axis(labels[head], guess_B[:, None], axis=1)
      return chosen[:, 0] > 0
    return guess_B == labels[head]

  return {f'{head}/top1': jnp.mean(right(head)) for head in logits}

"""Targets and losses of named heads."""

from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
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


def cross_entropy(
  logits: Mapping[str, jax.Array],
  targets: Mapping[str, jax.Array],
  multi_label: Collection[str] = (),
  weights: Mapping[str, float] | None = None,
) -> jax.Array:
  """Returns the cross-entropy, mean over examples, sum over heads.

  Args:
    logits: float32 [B, K] of each head.
    targets: distributions over classes, float32 [B, K] of each head; of a
      multi-label head, the probability of each class.
    multi_label: heads of which every class is a yes or no of its own: sigmoid
      instead of softmax, summed over the classes.
    weights: what a head's term is multiplied with; 1 of those without.
  """
  weights = weights or {}
  return sum(
    weights.get(head, 1.0)
    * _loss(logits[head], targets[head], head in multi_label).mean()
    for head in logits
  )


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

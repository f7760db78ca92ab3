"""Targets and losses of named heads."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax


def smooth_targets(
  labels_B: jax.Array, classes: int, smoothing: float
) -> jax.Array:
  """Returns float32 [B, K]: 1 - smoothing + smoothing / K at the label.

  Every other class gets smoothing / K (Szegedy et al., arXiv 1512.00567).
  """
  one_hot = jax.nn.one_hot(labels_B, classes)
  return one_hot * (1.0 - smoothing) + smoothing / classes


def cross_entropy(
  logits: Mapping[str, jax.Array], targets: Mapping[str, jax.Array]
) -> jax.Array:
  """Returns the softmax cross-entropy, mean over examples, sum over heads.

  Args:
    logits: float32 [B, K] of each head.
    targets: distributions over classes, float32 [B, K] of each head.
  """
  return sum(
    optax.softmax_cross_entropy(logits[head], targets[head]).mean()
    for head in logits
  )


def accuracies(
  logits: Mapping[str, jax.Array], labels: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns each head's share of right first guesses, as '<head>/top1'.

  With mixup or cutmix, the label of the first of two mixed videos counts as
  right, and the share is lower than it would be of whole videos.
  """
  return {
    f'{head}/top1': jnp.mean(logits[head].argmax(-1) == labels[head])
    for head in logits
  }

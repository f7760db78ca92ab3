"""The classifier of every family: a backbone, a pool, and linear heads."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import pools
from vivit_jax.models.blocks import Mode

HEAD = 'output_projection'
REPRESENTATION = 'pre_logits'
# Parameters that belong to no backbone, by the first part of their names.
OWN = (HEAD, REPRESENTATION, pools.ATTENTION_HEAD)


@flax.struct.dataclass
class Features:
  """A clip, before the head.

  Attributes:
    tokens: [B, t, h, w, D], all tokens after the last encoder that has them.
    pre_logits: float32 [B, D], or of the representation layer's width.
  """

  tokens: jax.Array
  pre_logits: jax.Array


class VideoClassifier(nn.Module):
  """Classifies clips.

  One linear layer, zero at the start, serves all heads; its columns are split
  in the order of `heads`, so a single head has the reference's own names. The
  backbone's and pool's parameters have no prefix, as in the reference.

  Attributes:
    backbone: (video [B, T, H, W, 3], `Mode`) -> `pools.Encoded`.
    pool: `pools.Encoded` -> [B, D].
    heads: name of each head -> number of classes, in the order of the columns.
    representation: width of a tanh layer before the head, or None.
    frozen: as of `Mode`.
  """

  backbone: nn.Module
  pool: nn.Module
  heads: Mapping[str, int]
  representation: int | None = None
  frozen: Collection[str] = frozenset()

  def setup(self):
    nn.share_scope(self, self.backbone)
    nn.share_scope(self, self.pool)

  @nn.compact
  def __call__(
    self,
    video: jax.Array,
    *,
    train: bool = False,
    example_B: jax.Array | None = None,
    features: bool = False,
  ) -> dict[str, jax.Array] | Features:
    """Classifies clips.

    Args:
      video: float [B, T, H, W, 3], normalised (`pixels.normalise`).
      train, example_B: as of `Mode`.
      features: whether to return what comes before the head instead.

    Returns:
      Logits, float32 [B, K] for each head; or `Features`.
    """
    encoded = self.backbone(video, Mode(train, example_B, self.frozen))
    x_BxD = self.pool(encoded).astype(jnp.float32)
    if self.representation is not None:
      x_BxD = nn.tanh(nn.Dense(self.representation, name=REPRESENTATION)(x_BxD))
    head = nn.Dense(
      sum(self.heads.values()), kernel_init=nn.initializers.zeros, name=HEAD
    )
    if features:
      return Features(encoded.tokens, x_BxD)
    edges = list(itertools.accumulate(self.heads.values()))[:-1]
    return dict(zip(self.heads, jnp.split(head(x_BxD), edges, axis=-1)))


def is_own(name: str) -> bool:
  """Returns whether a parameter belongs to a head or pool, by its name."""
  return name.partition('/')[0] in OWN


def is_head(name: str) -> bool:
  """Returns whether a parameter is the last linear layer's."""
  return name.startswith(f'{HEAD}/')


def has_representation(names: Collection[str]) -> bool:
  """Returns whether there is a layer before the head."""
  return any(name.startswith(f'{REPRESENTATION}/') for name in names)


def classes_of(arrays: Mapping[str, jax.Array]) -> int | None:
  """Returns how many classes a checkpoint's head has; None without a head."""
  bias = arrays.get(f'{HEAD}/bias')
  return None if bias is None else bias.size

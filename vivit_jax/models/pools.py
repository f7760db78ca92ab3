"""From tokens to the one vector that a head classifies."""

from __future__ import annotations

import dataclasses

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks

ATTENTION_HEAD = 'MAPHead_0'  # big_vision's name of the attention pool


@flax.struct.dataclass
class Encoded:
  """What a backbone makes of a clip.

  Attributes:
    tokens: [B, t, h, w, D], after the last encoder that sees places.
    summary: [B, D], a class token's output; None in models without one.
    sequence: [B, N, D], the tokens that a pool reads where these are not
      `tokens`: in ViViT's Model 2, one for each temporal index.
  """

  tokens: jax.Array
  summary: jax.Array | None = None
  sequence: jax.Array | None = None

  @property
  def to_pool(self) -> jax.Array:
    """The tokens that a pool reads, [B, N, D]."""
    if self.sequence is not None:
      return self.sequence
    return einops.rearrange(self.tokens, 'B t h w D -> B (t h w) D')


class Token(nn.Module):
  """The class token's output: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.summary


class Mean(nn.Module):
  """The mean over all tokens: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.to_pool.mean(axis=1)


class Attention(nn.Module):
  """Attention of one learned query to all tokens, then an MLP: [B, D].

  Multihead attention pooling (Lee et al., arXiv 1810.00825; Zhai et al., arXiv
  2106.04560, appendix A), in the form and with the names of big_vision's
  `MAPHead`, so that its weights load as they are: GELU in its tanh
  approximation and epsilon 1e-6, whatever the backbone has.

  Attributes:
    options: attention heads, MLP width and the like of the pool's own block.
  """

  options: blocks.Options

  @nn.compact
  def __call__(self, encoded: Encoded) -> jax.Array:
    return _AttentionHead(self.options, name=ATTENTION_HEAD)(encoded.to_pool)


class _AttentionHead(nn.Module):
  options: blocks.Options

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    batch, _, width = x_BxNxD.shape
    probe = self.param('probe', nn.initializers.xavier_uniform(), (1, 1, width))
    query = jnp.broadcast_to(probe.astype(x_BxNxD.dtype), (batch, 1, width))
    # One query: the forms for long sequences have nothing to save.
    options = dataclasses.replace(self.options, attention='plain')
    name = 'MultiHeadDotProductAttention_0'
    x = blocks.attention(options, name)(query, x_BxNxD)
    y = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    x = x + blocks.MlpBlock(self.options, name='MlpBlock_0')(y)
    return x[:, 0]


POOLS = {'token': Token, 'mean': Mean, 'attention': Attention}

"""Pools: from tokens [B, N, D] to the head's input [B, D]."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks

ATTENTION_HEAD = 'MAPHead_0'  # big_vision's name for the attention pool


@flax.struct.dataclass
class Encoded:
  """Output of a backbone for a batch of clips.

  Attributes:
    tokens: [B, t, h, w, D], output of the last encoder that has one token per
      grid cell; in ViViT's Model 2, the spatial encoder.
    summary: [B, D], output of the class token; None without one.
    sequence: [B, N, D], the tokens to pool; None: `tokens`. In ViViT's Model 2,
      one token per temporal index.
    stages: [B, t, h, w, C] after each stage of a hierarchical model, before
      the next one merges tokens; () in others.
  """

  tokens: jax.Array
  summary: jax.Array | None = None
  sequence: jax.Array | None = None
  stages: tuple[jax.Array, ...] = ()

  @property
  def to_pool(self) -> jax.Array:
    """The tokens to pool, [B, N, D]."""
    if self.sequence is not None:
      return self.sequence
    return einops.rearrange(self.tokens, 'B t h w D -> B (t h w) D')


class Token(nn.Module):
  """The class token's output: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.summary


class Mean(nn.Module):
  """The mean of all tokens: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.to_pool.mean(axis=1)


class Attention(nn.Module):
  """Multihead attention pooling: one learned query, then an MLP: [B, D].

  Lee et al., arXiv 1810.00825; Zhai et al., arXiv 2106.04560, appendix A.
  Weights of big_vision's `MAPHead` load unchanged. As there, GELU is
  tanh-approximated and epsilon is 1e-6, independent of the backbone's options.

  Attributes:
    options: attention heads, MLP width and precision of the pool.
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
    # Implementations for long sequences save nothing with a single query.
    options = dataclasses.replace(self.options, attention='plain')
    name = 'MultiHeadDotProductAttention_0'
    x = blocks.attention(options, name)(query, x_BxNxD)
    y = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    x = x + blocks.MlpBlock(self.options, name='MlpBlock_0')(y)
    return einops.rearrange(x, 'B 1 D -> B D')


def has_attention(names: Collection[str]) -> bool:
  """Returns whether the names include an attention pool's parameters."""
  return any(name.startswith(f'{ATTENTION_HEAD}/') for name in names)


POOLS = {'token': Token, 'mean': Mean, 'attention': Attention}

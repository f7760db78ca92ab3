"""Pools: from tokens [B, N, D] to the head's input [B, D]."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.errors import UserError
from vivit_jax.models import attention_pools, blocks
from vivit_jax.models.family import AttentionPool

NORM = 'fc_norm'  # VideoMAE's name for the norm after the mean


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

  @property
  def of_frames(self) -> jax.Array:
    """The mean of `to_pool` at each temporal index, [B, t, D].

    Raises:
      UserError: not all indices have equally many tokens.
    """
    x, frames = self.to_pool, self.tokens.shape[1]
    if x.shape[1] % frames:
      raise UserError(
        f'the {x.shape[1]} tokens are not {frames} frames of equal size: set '
        'model.attention_pool.per_frame to False, and probe.average to None.'
      )
    x_BxtxnxD = einops.rearrange(x, 'B (t n) D -> B t n D', t=frames)
    return x_BxtxnxD.mean(axis=2, dtype=jnp.float32).astype(x.dtype)

  def joined(self, clips: int) -> Encoded:
    """Returns a batch in which each `clips` clips in a row are one.

    Their tokens follow one another; summaries are averaged.
    """

    def join(x):
      return einops.rearrange(x, '(B c) n ... -> B (c n) ...', c=clips)

    def mean(x):
      return einops.reduce(x, '(B c) D -> B D', 'mean', c=clips)

    return Encoded(
      join(self.tokens),
      None if self.summary is None else mean(self.summary),
      None if self.sequence is None else join(self.sequence),
      tuple(map(join, self.stages)),
    )


class Given(nn.Module):
  """A backbone that is given its output: the tokens to pool, [B, N, D].

  The pool 'token' reads the first.
  """

  def __call__(self, x_BxNxD: jax.Array, mode: blocks.Mode) -> Encoded:
    del mode
    return Encoded(x_BxNxD[:, :, None, None], x_BxNxD[:, 0], x_BxNxD)


class Token(nn.Module):
  """The class token's output: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.summary


class Mean(nn.Module):
  """The mean of all tokens: [B, D]."""

  def __call__(self, encoded: Encoded) -> jax.Array:
    return encoded.to_pool.mean(axis=1)


class MeanNorm(nn.Module):
  """The mean of all tokens, then a layer norm: [B, D].

  For backbones without a final norm, as VideoMAE's after fine-tuning. As there,
  epsilon is 1e-6.
  """

  @nn.compact
  def __call__(self, encoded: Encoded) -> jax.Array:
    return nn.LayerNorm(name=NORM)(encoded.to_pool.mean(axis=1))


class Attention(nn.Module):
  """Attention pooling in one of the `attention_pools.FORMS`: [B, D].

  Attributes:
    options: attention heads, MLP width, epsilon and precision of the pool.
    keys: model.attention_pool.
  """

  options: blocks.Options
  keys: AttentionPool

  @nn.compact
  def __call__(self, encoded: Encoded) -> jax.Array:
    width, heads = encoded.tokens.shape[-1], self.options.attention_heads
    if width % heads:
      raise UserError(
        f'model.attention_pool.heads is {heads}; it must divide the width '
        f'{width}.'
      )
    kind, settings = attention_pools.FORMS[self.keys.form]
    options = dataclasses.replace(self.options, **settings)
    is_big_vision = kind is attention_pools.BigVision
    name = attention_pools.BIG_VISION if is_big_vision else attention_pools.NAME
    read = encoded.of_frames if self.keys.per_frame else encoded.to_pool
    return kind(options, self.keys, name=name)(read)


def has_norm(names: Collection[str]) -> bool:
  """Returns whether the names include the norm of `MeanNorm`."""
  return any(name.startswith(f'{NORM}/') for name in names)


POOLS = {
  'token': Token,
  'mean': Mean,
  'mean_norm': MeanNorm,
  'attention': Attention,
}

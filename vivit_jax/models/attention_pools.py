"""Attention pools: learned queries that read all tokens, [B, N, D] -> [B, D].

Each published form is a class, called with `blocks.Options` (attention heads,
MLP width, epsilon and precision) and the keys of model.attention_pool.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks
from vivit_jax.models.attention import attend
from vivit_jax.models.family import AttentionPool

BIG_VISION = 'MAPHead_0'  # big_vision's name for its pool
NAME = 'attention_pool'  # of all others
MODULES = (BIG_VISION, NAME)
_LOG2_E = 1.442695041  # the inverse of softplus(0)


def _single_query(options: blocks.Options) -> blocks.Options:
  """Returns the options with plain attention.

  Implementations for long sequences save nothing with a single query.
  """
  return dataclasses.replace(options, attention='plain')


class _Form(nn.Module):
  options: blocks.Options
  keys: AttentionPool

  def query(self, x_BxNxD: jax.Array, init: nn.initializers.Initializer):
    """Returns the learned query of each clip, [B, 1, D]."""
    batch, _, width = x_BxNxD.shape
    probe = self.param('probe', init, (1, 1, width))
    return jnp.broadcast_to(probe.astype(x_BxNxD.dtype), (batch, 1, width))


class BigVision(_Form):
  """Attention, then an MLP with a residual connection.

  Lee et al., arXiv 1810.00825; Zhai et al., arXiv 2106.04560, appendix A.
  Weights of big_vision's `MAPHead` load unchanged.
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    query = self.query(x_BxNxD, nn.initializers.xavier_uniform())
    name = 'MultiHeadDotProductAttention_0'
    x = blocks.attention(_single_query(self.options), name)(query, x_BxNxD)
    y = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    x = x + blocks.MlpBlock(self.options, name='MlpBlock_0')(y)
    return einops.rearrange(x, 'B 1 D -> B D')


class VideoPrism(_Form):
  """Attention with a scale for each channel of a head, then a layer norm.

  VideoPrism, arXiv 2402.13217, and its code: no MLP, no residual connection.
  Its video-text model has `widening` 4, the width of attention / D, and divides
  the result by its length (`unit`).
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    query = self.query(x_BxNxD, nn.initializers.lecun_normal())
    width = x_BxNxD.shape[-1]
    inner, heads = self.keys.widening * width, self.options.attention_heads
    scale = self.param(
      'per_dim_scale', nn.initializers.zeros, (inner // heads,)
    )
    scale = (nn.softplus(scale) * _LOG2_E).astype(x_BxNxD.dtype)

    def scaled_attend(query, key, value):
      return attend(query * scale, key, value, kind='plain')

    name = 'MultiHeadDotProductAttention_0'
    more = {'qkv_features': inner, 'out_features': width}
    more['attention_fn'] = scaled_attend
    x = blocks.attention(self.options, name, **more)(query, x_BxNxD)
    x = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    if self.keys.unit:
      x = x.astype(jnp.float32)
      x = x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)
    return einops.rearrange(x, 'B 1 D -> B D')


class VideoGlue(_Form):
  """A layer norm of the tokens, then attention.

  VideoGLUE, arXiv 2307.03166; its dropout before the head is model.dropout.
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    query = self.query(x_BxNxD, nn.initializers.normal(0.02))
    x = blocks.layer_norm(self.options, 'LayerNorm_0')(x_BxNxD)
    name = 'MultiHeadDotProductAttention_0'
    x = blocks.attention(_single_query(self.options), name)(query, x)
    return einops.rearrange(x, 'B 1 D -> B D')


class VJepa(_Form):
  """Blocks of self-attention, then attention and an MLP, both residual.

  V-JEPA 2, arXiv 2506.09985, and its code: the query is not normed, and the
  attention has no output projection. As there, the initial weights of the last
  layer in each residual branch of block l are divided by sqrt(2 l).
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    x, grid = x_BxNxD, (1, 1, x_BxNxD.shape[1])
    options = self.options
    for layer in range(self.keys.blocks):
      factor = (2 * (layer + 1)) ** -0.5
      options = dataclasses.replace(self.options, residual_init=factor)
      x = blocks.EncoderBlock(options, grid, name=f'block_{layer}')(x, None)
    query = self.query(x, nn.initializers.normal(0.02))
    tokens = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    heads = self.options.attention_heads
    dense = functools.partial(
      nn.DenseGeneral,
      (heads, x.shape[-1] // heads),
      kernel_init=blocks.LINEAR_INITS[self.options.linear_init][0],
      dtype=self.options.dtype,
    )
    y = attend(
      dense(name='query')(query),
      dense(name='key')(tokens),
      dense(name='value')(tokens),
      kind='plain',
    )
    z = query + einops.rearrange(y, 'B n H d -> B n (H d)')
    norm = blocks.layer_norm(self.options, 'LayerNorm_1')
    z = z + blocks.MlpBlock(options, name='MlpBlock_0')(norm(z))
    return einops.rearrange(z, 'B 1 D -> B D')


# Value of model.attention_pool.form -> class, and settings that its published
# weights need.
FORMS = {
  'big_vision': (BigVision, {'gelu': 'tanh'}),
  'videoprism': (VideoPrism, {'linear_init': 'lecun'}),
  'videoglue': (VideoGlue, {'linear_init': 'normal'}),
  'vjepa': (VJepa, {'gelu': 'exact', 'linear_init': 'normal'}),
}


def sizes(arrays: Mapping[str, jax.Array]) -> dict[str, int]:
  """Returns the sizes of an attention pool's arrays; {} without one.

  They show its form, widths and blocks.
  """
  return {n: x.size for n, x in arrays.items() if is_attention_pool([n])}


def is_attention_pool(names: Collection[str]) -> bool:
  """Returns whether the names include an attention pool's parameters."""
  return any(name.partition('/')[0] in MODULES for name in names)

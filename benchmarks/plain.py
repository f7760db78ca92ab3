"""The paper's models as the reference code computes them, for comparison.

A 3D convolution for the tubelets, flax's MultiHeadDotProductAttention, layers
one by one. Parameters have the names and shapes of ours, so that a test
compares outputs. Only what a comparison of speed needs: no dropout, no
stochastic depth, learned positions, one head. `dtype` is what layers compute
in; parameters are float32, and so are the logits.
"""

from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

_EPSILON = 1e-6


def attention(heads: int, dtype: Any, name: str) -> nn.Module:
  return nn.MultiHeadDotProductAttention(
    heads, deterministic=True, dtype=dtype, name=name
  )


class Mlp(nn.Module):
  hidden: int
  dtype: Any

  @nn.compact
  def __call__(self, x):
    y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(x))
    return nn.Dense(x.shape[-1], dtype=self.dtype)(y)


class Block(nn.Module):
  """Model 1's and 2's."""

  heads: int
  mlp: int
  dtype: Any

  @nn.compact
  def __call__(self, x):
    y = nn.LayerNorm(_EPSILON, self.dtype)(x)
    x = x + attention(self.heads, self.dtype, 'MultiHeadDotProductAttention_0')(
      y, y
    )
    y = nn.LayerNorm(_EPSILON, self.dtype)(x)
    return x + Mlp(self.mlp, self.dtype, name='MlpBlock_0')(y)


class SelfAttentionBlock(nn.Module):
  """Model 3's: the tokens of a time, then those of a place."""

  heads: int
  mlp: int
  dtype: Any
  times: int

  @nn.compact
  def __call__(self, x):
    sizes = {'B': x.shape[0], 't': self.times}
    for axis, apart in (('space', '(B t) s D'), ('time', '(B s) t D')):
      y = nn.LayerNorm(_EPSILON, self.dtype, name=f'LayerNorm_{axis}')(x)
      y = einops.rearrange(y, f'B (t s) D -> {apart}', **sizes)
      name = f'MultiHeadDotProductAttention_{axis}'
      y = attention(self.heads, self.dtype, name)(y, y)
      sizes['s'] = x.shape[1] // self.times
      x = x + einops.rearrange(y, f'{apart} -> B (t s) D', **sizes)
      del sizes['s']
    y = nn.LayerNorm(_EPSILON, self.dtype, name='LayerNorm_mlp')(x)
    return x + Mlp(self.mlp, self.dtype, name='MlpBlock')(y)


class HalvedAttention(nn.Module):
  """Model 4's: half the heads see space, half time."""

  heads: int
  dtype: Any
  times: int

  @nn.compact
  def __call__(self, x):
    width = x.shape[-1]
    query, key, value = (
      nn.DenseGeneral(
        (self.heads, width // self.heads), dtype=self.dtype, name=name
      )(x)
      for name in ('query', 'key', 'value')
    )
    sizes = {'B': x.shape[0], 't': self.times}
    attended = []
    for half, apart in ((0, '(B t) s H d'), (1, '(B s) t H d')):
      mine = slice(half * self.heads // 2, (half + 1) * self.heads // 2)
      parts = (
        einops.rearrange(y[:, :, mine], f'B (t s) H d -> {apart}', **sizes)
        for y in (query, key, value)
      )
      y = nn.dot_product_attention(*parts)
      y = einops.rearrange(
        y, f'{apart} -> B (t s) H d', s=x.shape[1] // self.times, **sizes
      )
      attended.append(y)
    y = jnp.concatenate(attended, axis=-2)
    return nn.DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, name='out')(
      y
    )


class DotProductBlock(nn.Module):
  """Model 4's."""

  heads: int
  mlp: int
  dtype: Any
  times: int

  @nn.compact
  def __call__(self, x):
    y = nn.LayerNorm(_EPSILON, self.dtype)(x)
    name = 'MultiHeadDotProductAttention_0'
    x = x + HalvedAttention(self.heads, self.dtype, self.times, name=name)(y)
    y = nn.LayerNorm(_EPSILON, self.dtype)(x)
    return x + Mlp(self.mlp, self.dtype, name='MlpBlock_0')(y)


class Positions(nn.Module):
  @nn.compact
  def __call__(self, x):
    shape = (1, *x.shape[1:])
    init = nn.initializers.normal(0.02)
    return x + self.param('pos_embedding', init, shape)


class Encoder(nn.Module):
  """Positions, layers, a norm."""

  layers: int
  block: type[nn.Module]
  arguments: dict

  @nn.compact
  def __call__(self, x):
    x = Positions(name='posembed_input')(x)
    for layer in range(self.layers):
      x = self.block(**self.arguments, name=f'encoderblock_{layer}')(x)
    dtype = self.arguments['dtype']
    return nn.LayerNorm(_EPSILON, dtype, name='encoder_norm')(x)


class Model(nn.Module):
  """A family of `vivit_jax.models`, of the same layers and widths."""

  family: str
  layers: int
  temporal_layers: int
  heads: int
  width: int
  mlp: int
  tubelet: tuple[int, int, int]
  classes: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, video: jax.Array) -> jax.Array:
    """Returns logits [B, K] of normalised clips [B, T, H, W, 3]."""
    x = nn.Conv(
      self.width,
      self.tubelet,
      self.tubelet,
      padding='VALID',
      dtype=self.dtype,
      name='embedding',
    )(video)
    batch, times = x.shape[:2]
    sizes = {'heads': self.heads, 'mlp': self.mlp, 'dtype': self.dtype}
    if self.family == 'factorised_encoder':
      x = einops.rearrange(x, 'B t h w D -> (B t) (h w) D')
      x = self._with_token(x, 'cls_SpatialTransformer')
      x = Encoder(self.layers, Block, sizes, name='SpatialTransformer')(x)
      x = einops.rearrange(x[:, 0], '(B t) D -> B t D', B=batch)
      x = self._with_token(x, 'cls_TemporalTransformer')
      x = Encoder(
        self.temporal_layers, Block, sizes, name='TemporalTransformer'
      )(x)[:, 0]
    else:
      x = einops.rearrange(x, 'B t h w D -> B (t h w) D')
      block = {
        'joint': Block,
        'factorised_self_attention': SelfAttentionBlock,
        'factorised_dot_product': DotProductBlock,
      }[self.family]
      if self.family == 'joint':
        x = self._with_token(x, 'cls')
      else:
        sizes['times'] = times
      x = Encoder(self.layers, block, sizes, name='Transformer')(x)
      x = x[:, 0] if self.family == 'joint' else x.mean(axis=1)
    return nn.Dense(self.classes, name='output_projection')(x)

  def _with_token(self, x, name):
    token = self.param(name, nn.initializers.zeros, (1, 1, self.width))
    token = jnp.broadcast_to(token, (x.shape[0], 1, self.width))
    return jnp.concatenate([token, x], axis=1)

"""Attention pools: learned queries that read all tokens, [B, N, D] -> [B, D].

Each published form is a class, called with `blocks.Options` (attention heads,
MLP width, epsilon and precision) and the keys of model.attention_pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks
from vivit_jax.models.family import AttentionPool

BIG_VISION = 'MAPHead_0'  # big_vision's name for its pool
NAME = 'attention_pool'  # of all others
ATTENTION = 'MultiHeadDotProductAttention_0'
MODULES = (BIG_VISION, NAME)
_LOG2_E = 1.442695041  # the inverse of softplus(0)


class _Linear(nn.Module):
  """Kernel [D, H, d] and bias [H, d] of an `nn.DenseGeneral`."""

  shape: tuple[int, int, int]
  init: nn.initializers.Initializer

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array]:
    width, heads, per_head = self.shape

    def init(key):  # `nn.DenseGeneral` draws a matrix
      return self.init(key, (width, heads * per_head)).reshape(self.shape)

    kernel = self.param('kernel', init)
    return kernel, self.param('bias', nn.initializers.zeros, self.shape[1:])


class _Affine(nn.Module):
  """Scale and bias [D] of an `nn.LayerNorm`."""

  width: int

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array]:
    scale = self.param('scale', nn.initializers.ones, (self.width,))
    return scale, self.param('bias', nn.initializers.zeros, (self.width,))


def _normed(
  options: blocks.Options, x_BxNxD: jax.Array, name: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Returns tokens before the scale and bias of a layer norm, and the two."""
  norm = nn.LayerNorm(
    epsilon=options.epsilon,
    dtype=options.dtype,
    use_scale=False,
    use_bias=False,
    name=f'{name}_without_parameters',
  )
  return norm(x_BxNxD), _Affine(x_BxNxD.shape[-1], name=name)()


def _read(
  options: blocks.Options,
  query_D: jax.Array,
  x_BxNxD: jax.Array,
  affine: tuple[jax.Array, jax.Array] | None = None,
  inner: int | None = None,
  scale_d: jax.Array | float = 1.0,
) -> jax.Array:
  """Returns each head's output for one query of all clips, float32 [B, H, d].

  This is multi-head attention in a cheaper order, with N D H products a clip
  instead of N D^2, because tokens are not projected: the score q . (x K) is
  (q K^T) . x, and the mean of values is the value of the mean token. The bias
  of keys adds the same to all scores, which softmax ignores.

  Args:
    options: attention heads, precision and initial weights.
    query_D: the query before its projection.
    x_BxNxD: tokens.
    affine: scale and bias [D] of the tokens; None: 1 and 0.
    inner: H d; None: D.
    scale_d: of projected queries.
  """
  width, heads = x_BxNxD.shape[-1], options.attention_heads
  shape = width, heads, (inner or width) // heads
  init = blocks.LINEAR_INITS[options.linear_init][0]
  (query, key, value), biases = zip(
    *(_Linear(shape, init, name=name)() for name in ('query', 'key', 'value')),
    strict=True,
  )
  scale_D, shift_D = affine or (1.0, 0.0)
  query = jnp.einsum('D,DHd->Hd', query_D, query) + biases[0]
  query = jnp.einsum('Hd,DHd->HD', query * scale_d * shape[-1] ** -0.5, key)
  scores = jnp.einsum(
    'HD,BND->BHN',
    (query * scale_D).astype(x_BxNxD.dtype),
    x_BxNxD,
    preferred_element_type=jnp.float32,
  )
  mean = jnp.einsum(
    'BHN,BND->BHD',
    nn.softmax(scores).astype(x_BxNxD.dtype),
    x_BxNxD,
    preferred_element_type=jnp.float32,
  )
  mean = mean * scale_D + shift_D
  return jnp.einsum('BHD,DHd->BHd', mean, value) + biases[2]


class _Attention(nn.Module):
  """`_read` and its output projection, [B, D]; parameters as in flax."""

  options: blocks.Options
  inner: int | None = None

  @nn.compact
  def __call__(
    self,
    query_D: jax.Array,
    x_BxNxD: jax.Array,
    affine: tuple[jax.Array, jax.Array] | None = None,
    scale_d: jax.Array | float = 1.0,
  ) -> jax.Array:
    y = _read(self.options, query_D, x_BxNxD, affine, self.inner, scale_d)
    return nn.DenseGeneral(
      x_BxNxD.shape[-1],
      axis=(-2, -1),
      kernel_init=blocks.LINEAR_INITS[self.options.linear_init][0],
      dtype=self.options.dtype,
      name='out',
    )(y)


class _Form(nn.Module):
  options: blocks.Options
  keys: AttentionPool

  def probe(self, width: int, init: nn.initializers.Initializer) -> jax.Array:
    """Returns the learned query, [D]."""
    return self.param('probe', init, (1, 1, width))[0, 0]


class BigVision(_Form):
  """Attention, then an MLP with a residual connection.

  Lee et al., arXiv 1810.00825; Zhai et al., arXiv 2106.04560, appendix A.
  Weights of big_vision's `MAPHead` load unchanged.
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    query = self.probe(x_BxNxD.shape[-1], nn.initializers.xavier_uniform())
    x = _Attention(self.options, name=ATTENTION)(query, x_BxNxD)
    y = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    return x + blocks.MlpBlock(self.options, name='MlpBlock_0')(y)


class VideoPrism(_Form):
  """Attention with a scale for each channel of a head, then a layer norm.

  VideoPrism, arXiv 2402.13217, and its code: no MLP, no residual connection.
  Its video-text model has `widening` 4, the width of attention / D, and divides
  the result by its length (`unit`).
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    width = x_BxNxD.shape[-1]
    query = self.probe(width, nn.initializers.lecun_normal())
    inner, heads = self.keys.widening * width, self.options.attention_heads
    scale = self.param(
      'per_dim_scale', nn.initializers.zeros, (inner // heads,)
    )
    scale = nn.softplus(scale) * _LOG2_E
    attention = _Attention(self.options, inner, name=ATTENTION)
    x = attention(query, x_BxNxD, scale_d=scale)
    x = blocks.layer_norm(self.options, 'LayerNorm_0')(x)
    if self.keys.unit:
      x = x.astype(jnp.float32)
      x = x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)
    return x


class VideoGlue(_Form):
  """A layer norm of the tokens, then attention.

  VideoGLUE, arXiv 2307.03166; its dropout before the head is model.dropout.
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    query = self.probe(x_BxNxD.shape[-1], nn.initializers.normal(0.02))
    x, affine = _normed(self.options, x_BxNxD, 'LayerNorm_0')
    return _Attention(self.options, name=ATTENTION)(query, x, affine)


class VJepa(_Form):
  """Blocks of self-attention, then attention and an MLP, both residual.

  V-JEPA 2, arXiv 2506.09985, and its code: the query is not normed, and the
  attention has no output projection. As there, the initial weights of the last
  layer in each residual branch of block l are divided by sqrt(2 l); those
  of the last MLP as in the block before it, or as in block 1.
  """

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    x, grid = x_BxNxD, (1, 1, x_BxNxD.shape[1])
    options = dataclasses.replace(self.options, residual_init=2**-0.5)
    for layer in range(self.keys.blocks):
      factor = (2 * (layer + 1)) ** -0.5
      options = dataclasses.replace(self.options, residual_init=factor)
      x = blocks.EncoderBlock(options, grid, name=f'block_{layer}')(x, None)
    query = self.probe(x.shape[-1], nn.initializers.normal(0.02))
    x, affine = _normed(self.options, x, 'LayerNorm_0')
    y = _read(self.options, query, x, affine)
    z = query + einops.rearrange(y, 'B H d -> B (H d)')
    z = z.astype(self.options.dtype)
    norm = blocks.layer_norm(self.options, 'LayerNorm_1')
    return z + blocks.MlpBlock(options, name='MlpBlock_0')(norm(z))


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

"""The transformer encoder that every model here is made of (paper, eq. 2-4).

Pre-norm blocks of multi-head self-attention and an MLP, GELU in its tanh
approximation, LayerNorm with epsilon 1e-6. Parameter names are those of the
reference implementation, so that its weights load as they are.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models.embeddings import AddPositionEmbedding

LAYER_NORM_EPSILON = 1e-6


class StochasticDepth(nn.Module):
  """Drops a residual branch of whole examples while training.

  Each example keeps its branch with probability 1 - rate, and a kept branch is
  divided by that, so that the expectation is the branch itself (Huang et al.,
  arXiv 1603.09382; the reference implementation leaves the division out). The
  draw depends on the key and on the example's place in the global batch, never
  on the device: rng collection `stochastic_depth`.
  """

  rate: float

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> jax.Array:
    """Returns [B, N, D]; `example_B` holds places in the global batch."""
    if not train or self.rate == 0.0:
      return x_BxNxD
    key = self.make_rng('stochastic_depth')
    uniform_B = jax.vmap(
      lambda place: jax.random.uniform(jax.random.fold_in(key, place))
    )(example_B)
    keep_B = uniform_B >= self.rate
    scale_B = keep_B.astype(x_BxNxD.dtype) / (1.0 - self.rate)
    return x_BxNxD * scale_B[:, None, None].astype(x_BxNxD.dtype)


class MlpBlock(nn.Module):
  """Two dense layers with a GELU between: [B, N, D] -> [B, N, D]."""

  hidden: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    inits = dict(
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.dtype,
    )
    x = nn.Dense(self.hidden, **inits)(x_BxNxD)
    return nn.Dense(x_BxNxD.shape[-1], **inits)(nn.gelu(x, approximate=True))


class EncoderBlock(nn.Module):
  """Attention, then an MLP, each normed before and added to its input."""

  heads: int
  mlp: int
  stochastic_depth: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> jax.Array:
    """Returns [B, N, D]; `example_B` holds places in the global batch."""
    norm = dict(epsilon=LAYER_NORM_EPSILON, dtype=self.dtype)
    y = nn.LayerNorm(**norm)(x_BxNxD)
    y = nn.MultiHeadDotProductAttention(
      num_heads=self.heads,
      dtype=self.dtype,
      kernel_init=nn.initializers.xavier_uniform(),
      deterministic=True,
    )(y, y)
    drop = StochasticDepth(self.stochastic_depth, name='drop_attention')
    x = x_BxNxD + drop(y, example_B, train=train)
    y = nn.LayerNorm(**norm)(x)
    y = MlpBlock(self.mlp, dtype=self.dtype)(y)
    drop = StochasticDepth(self.stochastic_depth, name='drop_mlp')
    return x + drop(y, example_B, train=train)


class Encoder(nn.Module):
  """Positions, `layers` blocks, and a final norm: [B, N, D] -> [B, N, D].

  The rate of stochastic depth grows linearly with depth: block l of L, counted
  from 1, has l / L of `stochastic_depth` (paper, section 4.1). Two encoders in
  a row each count their own blocks.
  """

  layers: int
  heads: int
  mlp: int
  stochastic_depth: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> jax.Array:
    x = AddPositionEmbedding(name='posembed_input')(x_BxNxD)
    for layer in range(self.layers):
      x = EncoderBlock(
        self.heads,
        self.mlp,
        self.stochastic_depth * (layer + 1) / self.layers,
        self.dtype,
        name=f'encoderblock_{layer}',
      )(x, example_B, train=train)
    return nn.LayerNorm(
      epsilon=LAYER_NORM_EPSILON, dtype=self.dtype, name='encoder_norm'
    )(x)

"""The post-norm transformer encoder of VTN and STAM, with dropout."""

import functools
import math
from collections.abc import Callable

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import Grid

NORMAL = nn.initializers.normal(0.02)


@flax.struct.dataclass
class Dropout:
  """Draws of dropout for a layer; with a leading axis, those of all layers.

  Attributes:
    key: of the layer.
    rate: of dropped entries.
    example_B: indices in the global batch.
  """

  key: jax.Array
  rate: jax.Array
  example_B: jax.Array

  def __call__(self, x_Bx: jax.Array, number: int) -> jax.Array:
    """Drops entries; `number` differs between the calls of a layer."""
    key = jax.random.fold_in(self.key, number)
    return blocks.dropout(x_Bx, self.rate, key, self.example_B)


def drop(x_Bx: jax.Array, dropout: Dropout | None, number: int) -> jax.Array:
  """Returns x after dropout; x if `dropout` is None."""
  return x_Bx if dropout is None else dropout(x_Bx, number)


class PostNormBlock(nn.Module):
  """Attention and MLP, each followed by the residual sum and then the norm."""

  options: blocks.Options
  grid: Grid  # unused; of `blocks.Encoder`
  first: int = 0  # see `blocks.EncoderBlock`
  activation: Callable = functools.partial(blocks.gelu, kind='exact')
  drops_hidden: bool = False  # dropout within the MLP, too

  def attend(self, x_BxNxD: jax.Array, dropout: Dropout | None) -> jax.Array:
    """Returns attention [B, N, D]; its weights are dropped as number 0."""
    raise NotImplementedError

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, dropout: Dropout | None
  ) -> jax.Array | list[jax.Array]:
    """Returns [B, N, D]; with `first`, its `split_first`."""
    norm = functools.partial(blocks.layer_norm, self.options)
    dense = functools.partial(
      nn.Dense, kernel_init=NORMAL, dtype=self.options.dtype
    )
    y = drop(self.attend(x_BxNxD, dropout), dropout, 1)
    x = norm('LayerNorm_0')(x_BxNxD + y)
    y = self.activation(dense(self.options.mlp, name='Dense_0')(x))
    if self.drops_hidden:
      y = drop(y, dropout, 2)
    y = drop(dense(x.shape[-1], name='Dense_1')(y), dropout, 3)
    x = norm('LayerNorm_1')(x + y)
    return blocks.split_first(x, self.first) if self.first else x


class Encoder(blocks.Encoder):
  """An encoder of `PostNormBlock`s, with dropout, not stochastic depth."""

  dropout: float = 0.0

  def _branch_scales(self, mode: Mode) -> Dropout | None:
    """Returns the draws of all layers; None if nothing is dropped."""
    names = (f'encoderblock_{layer}' for layer in range(self.layers))
    rates = [self.rate(name, mode) for name in names]
    if not any(rates):
      return None
    key, layers = self.make_rng('dropout'), jnp.arange(self.layers)
    return Dropout(
      jax.vmap(jax.random.fold_in, (None, 0))(key, layers),
      jnp.asarray(rates),
      jnp.tile(mode.example_B, (self.layers, 1)),
    )

  def rate(self, name: str, mode: Mode) -> float:
    """Returns the rate in a module of this encoder; 0 if it is frozen."""
    frozen = '/'.join((*self.path, name)) in mode.frozen
    return self.dropout if mode.train and not frozen else 0.0


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  mask: jax.Array | None = None,
  dropout: Dropout | None = None,
  number: int = 0,
) -> jax.Array:
  """Returns softmax attention with a mask and dropout of its weights.

  Args:
    query: [B, n, heads, d].
    key, value: [B, m, heads, d].
    mask: bool [n, m], which places are seen; None: all.
    dropout, number: see `Dropout`.
  """
  scores = jnp.einsum(
    'BnHd,BmHd->BHnm',
    query / math.sqrt(query.shape[-1]),
    key,
    preferred_element_type=jnp.float32,
  )
  if mask is not None:
    scores = jnp.where(mask, scores, -jnp.inf)
  weights = drop(jax.nn.softmax(scores), dropout, number)
  return jnp.einsum('BHnm,BmHd->BnHd', weights.astype(value.dtype), value)

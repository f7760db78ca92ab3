"""ViViT Model 4, factorised dot-product attention (arXiv 2103.15691, 3.3)."""

import functools

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import attention, blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone


class FactorisedDotProductAttention(nn.Module):
  """Self-attention in which each head attends along one axis of the grid.

  Half of the heads attend to tokens with the same temporal index, the other
  half to tokens with the same spatial position. Their outputs are concatenated
  and projected. The parameters are those of multi-head attention.

  Attributes:
    options: block settings.
    grid: token grid (t, h, w).
    order: axes along which the first and the second half of the heads attend:
      'space_time' (paper) or 'time_space' (reference).
  """

  options: blocks.Options
  grid: tuple[int, int, int]
  order: str = 'space_time'

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    """Returns [B, N, D]."""
    heads, width = self.options.attention_heads, x_BxNxD.shape[-1]
    inits = dict(
      kernel_init=nn.initializers.xavier_uniform(),
      dtype=self.options.dtype,
    )
    grids = [
      einops.rearrange(
        nn.DenseGeneral((heads, width // heads), name=name, **inits)(x_BxNxD),
        'B (t s) H d -> B t s H d',
        t=self.grid[0],
      )
      for name in ('query', 'key', 'value')
    ]
    halves = zip(*(jnp.split(x, 2, axis=-2) for x in grids))
    attend = functools.partial(attention.attend, kind=self.options.attention)
    attended = []
    for axis, (query, key, value) in zip(self.order.split('_'), halves):
      if axis == 'space':  # B and t are batch axes
        y = attend(query, key, value)
      else:
        along = 'B t s H d -> B s t H d'
        y = attend(*(einops.rearrange(x, along) for x in (query, key, value)))
        y = einops.rearrange(y, 'B s t H d -> B t s H d')
      attended.append(einops.rearrange(y, 'B t s H d -> B (t s) H d'))
    y = jnp.concatenate(attended, axis=-2)
    return nn.DenseGeneral(width, axis=(-2, -1), name='out', **inits)(y)


class FactorisedDotProductBlock(blocks.EncoderBlock):
  """A block with factorised dot-product attention.

  Attributes:
    order: see `FactorisedDotProductAttention`.
  """

  order: str = 'space_time'

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    attend = FactorisedDotProductAttention(
      self.options,
      self.grid,
      self.order,
      name='MultiHeadDotProductAttention_0',
    )
    return attend(x_BxNxD)


class FactorisedDotProduct(Backbone):
  """Model 4: half of the heads attend over space, half over time.

  Attributes:
    order: see `FactorisedDotProductAttention`.
  """

  order: str = 'space_time'

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    return self.encode_jointly(
      x_BxtxhxwxD,
      mode,
      block=functools.partial(FactorisedDotProductBlock, order=self.order),
      branches=FactorisedDotProductBlock.BRANCHES,
    )

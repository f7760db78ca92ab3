"""ViViT Model 4, factorised dot-product attention (arXiv 2103.15691, 3.3)."""

import functools

import einops
import jax
import jax.numpy as jnp

from vivit_jax.models import attention, blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone

# The attended axis comes last but for heads; the axes before it are batches.
_SEQUENCES = {'space': 'B t s H d', 'time': 'B s t H d'}


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  frames: int,
  order: str,
  kind: str,
) -> jax.Array:
  """Returns attention in which each head attends along one axis of the grid.

  One half of the heads attends to tokens with the same temporal index, the
  other half to tokens with the same spatial position.

  Args:
    query, key, value: [B, t s, heads, d].
    frames: t.
    order: axes along which the first and the second half of the heads attend:
      'space_time' (paper) or 'time_space' (reference).
    kind: see `attention.attend`.

  Returns:
    [B, t s, heads, d].
  """
  halves = zip(*(jnp.split(x, 2, axis=-2) for x in (query, key, value)))
  attended = []
  for axis, half in zip(order.split('_'), halves):
    axes = _SEQUENCES[axis]
    sequences = (
      einops.rearrange(x, f'B (t s) H d -> {axes}', t=frames) for x in half
    )
    y = attention.attend(*sequences, kind=kind)
    attended.append(einops.rearrange(y, f'{axes} -> B (t s) H d'))
  return jnp.concatenate(attended, axis=-2)


class FactorisedDotProductBlock(blocks.EncoderBlock):
  """A block with factorised dot-product attention; `order`: see `attend`."""

  order: str = 'space_time'

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    function = functools.partial(
      attend,
      frames=self.grid[0],
      order=self.order,
      kind=self.options.attention,
    )
    return blocks.attention(self.options, attention_fn=function)(
      x_BxNxD, x_BxNxD
    )


class FactorisedDotProduct(Backbone):
  """Model 4: half of the heads attend over space, half over time."""

  order: str = 'space_time'

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    block = functools.partial(FactorisedDotProductBlock, order=self.order)
    return self.encode_jointly(x_BxtxhxwxD, mode, block=block)

"""ViViT Model 3, factorised self-attention (arXiv 2103.15691, section 3.3)."""

import functools

import einops
import flax.linen as nn
import jax

from vivit_jax.models import blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone

# The values of the config key model.temporal_init. All-zero weights begin as an
# image model too, but only the output's bias ever learns: query, key, value and
# output kernel each have a gradient that another zero multiplies.
_ZERO = nn.initializers.zeros
TEMPORAL_INITS = {
  'zero_output': {'out_kernel_init': _ZERO},
  'zero_all': {'kernel_init': _ZERO},
  'random': {},
}


class FactorisedSelfAttentionBlock(nn.Module):
  """Attention within a temporal index, attention across time, then an MLP.

  Attributes:
    options: of the block.
    grid: t, h and w of the tokens.
    order: 'space_time', the paper's, or 'time_space', the reference's.
    temporal_init: a key of `TEMPORAL_INITS`.
  """

  options: blocks.Options
  grid: tuple[int, int, int]
  order: str = 'space_time'
  temporal_init: str = 'zero_output'

  BRANCHES = 3
  _SEQUENCES = {
    'space': ('B (t s) D -> (B t) s D', '(B t) s D -> B (t s) D'),
    'time': ('B (t s) D -> (B s) t D', '(B s) t D -> B (t s) D'),
  }

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, scale_RxB: jax.Array | None
  ) -> jax.Array:
    """Returns [B, N, D]; `scale_RxB` is a layer of `stochastic_depth`'s."""
    scales = [None] * self.BRANCHES if scale_RxB is None else scale_RxB
    sizes = {'B': x_BxNxD.shape[0], 't': self.grid[0]}
    x = x_BxNxD
    for axis, scale in zip(self.order.split('_'), scales):
      apart, together = self._SEQUENCES[axis]
      y = blocks.layer_norm(self.options, f'LayerNorm_{axis}')(x)
      y = einops.rearrange(y, apart, t=self.grid[0])
      inits = TEMPORAL_INITS[self.temporal_init] if axis == 'time' else {}
      y = blocks.attention(
        self.options, f'MultiHeadDotProductAttention_{axis}', **inits
      )(y, y)
      sizes['s'] = x.shape[1] // self.grid[0]
      x = blocks.add_branch(x, einops.rearrange(y, together, **sizes), scale)
    y = blocks.layer_norm(self.options, 'LayerNorm_mlp')(x)
    mlp = blocks.MlpBlock(self.options, name='MlpBlock')
    return blocks.add_branch(x, mlp(y), scales[-1])


class FactorisedSelfAttention(Backbone):
  """One encoder whose blocks attend over space and time by turns.

  Attributes:
    order, temporal_init: of the blocks.
  """

  order: str = 'space_time'
  temporal_init: str = 'zero_output'

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    return self.encode_jointly(
      x_BxtxhxwxD,
      mode,
      block=functools.partial(
        FactorisedSelfAttentionBlock,
        order=self.order,
        temporal_init=self.temporal_init,
      ),
      branches=FactorisedSelfAttentionBlock.BRANCHES,
    )

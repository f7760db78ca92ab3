"""ViViT Model 3, factorised self-attention (arXiv 2103.15691, section 3.3)."""

import functools

import einops
import flax.linen as nn
import jax

from vivit_jax.models import blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone

# Values of the config key model.options.temporal_init. 'zero_output' and
# 'zero_all' start as an image model, but with 'zero_all' only the output bias
# learns: the gradient of every kernel has a factor that stays zero.
_ZERO = nn.initializers.zeros
TEMPORAL_INITS = {
  'zero_output': {'out_kernel_init': _ZERO},
  'zero_all': {'kernel_init': _ZERO},
  'random': {},
}


class FactorisedSelfAttentionBlock(nn.Module):
  """Spatial self-attention, temporal self-attention, then an MLP.

  Attributes:
    options: block settings.
    grid: token grid (t, h, w).
    order: of the attentions: 'space_time' (paper) or 'time_space' (reference).
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
    """Returns [B, N, D]; `scale_RxB` is one layer's `stochastic_depth`."""
    scales = [None] * self.BRANCHES if scale_RxB is None else scale_RxB
    sizes = {'B': x_BxNxD.shape[0], 't': self.grid[0]}
    x = x_BxNxD
    for axis, scale in zip(self.order.split('_'), scales):
      split, merge = self._SEQUENCES[axis]
      y = blocks.layer_norm(self.options, f'LayerNorm_{axis}')(x)
      y = einops.rearrange(y, split, t=self.grid[0])
      inits = TEMPORAL_INITS[self.temporal_init] if axis == 'time' else {}
      y = blocks.attention(
        self.options, f'MultiHeadDotProductAttention_{axis}', **inits
      )(y, y)
      sizes['s'] = x.shape[1] // self.grid[0]
      x = blocks.add_branch(x, einops.rearrange(y, merge, **sizes), scale)
    y = blocks.layer_norm(self.options, 'LayerNorm_mlp')(x)
    mlp = blocks.MlpBlock(self.options, name='MlpBlock')
    return blocks.add_branch(x, mlp(y), scales[-1])


class FactorisedSelfAttention(Backbone):
  """Model 3: blocks attend over space, then over time.

  Attributes:
    order, temporal_init: see `FactorisedSelfAttentionBlock`.
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

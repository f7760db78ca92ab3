"""The network of VideoMAE (Tong et al., arXiv 2203.12602), as fine-tuned."""

import functools

import flax.linen as nn
import jax

from vivit_jax.models import attention, blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone


class Attention(nn.Module):
  """Multi-head self-attention: [B, N, D] -> [B, N, D].

  Keys have no bias: it would add the same to all scores of a query, which
  softmax ignores.
  """

  options: blocks.Options

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    heads, width = self.options.attention_heads, x_BxNxD.shape[-1]
    dense = functools.partial(
      nn.DenseGeneral,
      dtype=self.options.dtype,
      kernel_init=blocks.LINEAR_INITS[self.options.linear_init][0],
    )
    query, key, value = (
      dense((heads, width // heads), use_bias=name != 'key', name=name)(x_BxNxD)
      for name in ('query', 'key', 'value')
    )
    x = attention.attend(query, key, value, kind=self.options.attention)
    return dense(width, axis=(-2, -1), name='out')(x)


class Block(blocks.EncoderBlock):
  """A block whose keys have no bias."""

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    name = 'MultiHeadDotProductAttention_0'
    return Attention(self.options, name=name)(x_BxNxD)


class VideoMAE(Backbone):
  """ViViT's Model 1 with fixed positions, and without a class token.

  Attributes:
    final_norm: whether the tokens are normed, as those of the pretraining.
  """

  final_norm: bool = False

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    return self.encode_jointly(
      x_BxtxhxwxD, mode, block=Block, final_norm=self.final_norm
    )

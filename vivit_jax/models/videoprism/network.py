"""The video encoder of VideoPrism (Zhao et al., arXiv 2402.13217)."""

import einops
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import Grid, ModelConfig
from vivit_jax.models.pools import Encoded
from vivit_jax.models.rollout import (
  Rollout,
  attended,
  blocks_of,
  pair,
  read_out,
  with_residual,
)
from vivit_jax.models.vivit import backbones
from vivit_jax.models.vivit.rollout import along

_ATTENTION = 'MultiHeadDotProductAttention_0'


class VideoPrism(backbones.SpatialFirst):
  """ViViT's Model 2 without class tokens, whose tokens keep their places.

  The temporal encoder reads the tokens of each place over time. Follows
  google-deepmind/videoprism at commit d481d91.

  Attributes:
    temporal_layers: number of temporal blocks; `depth`: of spatial ones.
    auxiliary_layers: number of blocks among all tokens after that.
    table: grid (t, h, w) of the position tables, resized in each call.
  """

  temporal_layers: int = 4
  auxiliary_layers: int = 0
  table: Grid = (16, 16, 16)

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    t, h, w = x_BxtxhxwxD.shape[1:4]
    table = 1, *self.table[1:]
    x, _ = self.encode_in_space(x_BxtxhxwxD, mode, table=table)
    x = einops.rearrange(x, 'B t h w D -> (B h w) t D')
    layers, table = self.temporal_layers, (self.table[0], 1, 1)
    (x,) = self.encoder('TemporalTransformer', layers, (t, 1, 1), table=table)(
      x, mode.repeated(h * w)
    )
    tokens = einops.rearrange(x, '(B h w) t D -> B t h w D', h=h, w=w)
    if not self.auxiliary_layers:
      return Encoded(tokens)
    (x,) = blocks.Encoder(
      self.auxiliary_layers,
      self.options,
      (t, h, w),
      positions='none',
      final_norm=False,
      name='AuxiliaryTransformer',
    )(einops.rearrange(tokens, 'B t h w D -> B (t h w) D'), mode)
    return Encoded(tokens, sequence=x)


def attention_flow(
  captured: dict, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of the mean of all tokens; `Family.attention_flow`."""
  t, h, w = grid
  cap = config.options.cap
  row = read_out(batch, t * h * w, class_token=False)
  for block in blocks_of(captured.get('AuxiliaryTransformer', {})):
    row = with_residual(row, attended(row, *pair(block[_ATTENTION]), cap))
  for axis, name in (
    ('time', 'TemporalTransformer'),
    ('space', 'SpatialTransformer'),
  ):
    for block in blocks_of(captured[name]):
      seen = along(axis, t, row, pair(block[_ATTENTION]), cap)
      row = with_residual(row, seen)
  return Rollout(row.reshape(batch, t, h, w), jnp.zeros(batch))

"""The encoder of V-JEPA 2 (Assran et al., arXiv 2506.09985)."""

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.models import blocks
from vivit_jax.models.attention import attend
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import Grid
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit.backbones import Backbone

_TEMPERATURE = 10_000.0


def angles(size: int, channels: int) -> np.ndarray:
  """Returns the angles of an axis of the token grid, [size, channels].

  Positions are indices in the grid. As in the official code, the angles are
  tiled (a, b, a, b), although pairs of neighbouring channels turn: the two of a
  pair turn by different angles. The weights were trained with this.
  """
  half = channels // 2
  frequencies = _TEMPERATURE ** (-np.arange(half) / max(half, 1))
  return np.outer(np.arange(size), np.tile(frequencies, 2))


def rotated(x_BxNxHxd: jax.Array, grid: Grid) -> jax.Array:
  """Returns queries or keys with rotary positions, [B, N, heads, d].

  A third of a head's channels, rounded down to an even number, turns with each
  of time, row and column; the others are left alone. Computed in float32.
  """
  third = 2 * (x_BxNxHxd.shape[-1] // 3 // 2)

  def on_grid(function):  # of the angles: [N, 1, 3 third]
    tables = []
    for axis, size in enumerate(grid):
      table = function(angles(size, third)).astype(np.float32)
      table = np.expand_dims(table, [i for i in range(3) if i != axis])
      # On the device: large constants in each layer would compile slowly.
      tables.append(jnp.broadcast_to(table, (*grid, third)))
    table = jnp.concatenate(tables, axis=-1)
    return einops.rearrange(table, 't h w c -> (t h w) 1 c')

  x, rest = jnp.split(x_BxNxHxd, [3 * third], axis=-1)
  x = x.astype(jnp.float32)
  pairs = einops.rearrange(x, 'B N H (c p) -> B N H c p', p=2)
  first, second = jnp.split(pairs, 2, axis=-1)
  swapped = jnp.concatenate([-second, first], axis=-1)
  swapped = einops.rearrange(swapped, 'B N H c p -> B N H (c p)')
  x = x * on_grid(np.cos) + swapped * on_grid(np.sin)
  return jnp.concatenate([x.astype(rest.dtype), rest], axis=-1)


class Block(blocks.EncoderBlock):
  """A block whose queries and keys are rotated."""

  def attend(self, x_BxNxD: jax.Array) -> jax.Array:
    def attend_rotated(query, key, value):
      query, key = (rotated(x, self.grid) for x in (query, key))
      return attend(query, key, value, kind=self.options.attention)

    attention = blocks.attention(self.options, attention_fn=attend_rotated)
    return attention(x_BxNxD, x_BxNxD)


class VJepa2(Backbone):
  """ViViT's Model 1 with rotary positions, and without a class token.

  Attributes:
    features_of: numbers of the blocks, from 0, whose normed tokens are pooled
      together; empty: of the last block alone.
  """

  features_of: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, video: jax.Array, mode: Mode) -> Encoded:
    """Encodes [B, T, H, W, 3]; a single frame is repeated to a tubelet."""
    if video.shape[1] == 1:
      video = jnp.repeat(video, self.tubelet[0], axis=1)
    return super().__call__(video, mode)

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    grid = t, h, w = x_BxtxhxwxD.shape[1:4]
    encoder = self.encoder(
      'Transformer', self.depth, grid, block=Block, outputs=self.features_of
    )
    parts = encoder(
      einops.rearrange(x_BxtxhxwxD, 'B t h w D -> B (t h w) D'), mode
    )
    tokens = einops.rearrange(
      parts[-1], 'B (t h w) D -> B t h w D', t=t, h=h, w=w
    )
    return Encoded(tokens, sequence=jnp.concatenate(parts, axis=1))

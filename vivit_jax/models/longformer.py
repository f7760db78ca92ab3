"""A Longformer for short sequences (Beltagy et al., arXiv 2004.05150).

Attention is dense and masked; the first place, the class token, is global.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks, post_norm
from vivit_jax.models.blocks import Mode


class _Projections(nn.Module):
  """Queries, keys and values of one kind of place."""

  options: blocks.Options

  @nn.compact
  def __call__(self, asking: jax.Array, x_BxNxD: jax.Array) -> list[jax.Array]:
    heads = self.options.attention_heads
    dense = functools.partial(
      nn.DenseGeneral,
      (heads, x_BxNxD.shape[-1] // heads),
      kernel_init=post_norm.NORMAL,
      dtype=self.options.dtype,
    )
    query = dense(name='query')(asking)
    return [query, dense(name='key')(x_BxNxD), dense(name='value')(x_BxNxD)]


class _Attention(nn.Module):
  """A Longformer's attention, whose first place is the class token.

  The class token sees all places, by projections of its own. A frame sees the
  class token, and the frames at a distance of up to half the window; the class
  token is at the place before the first frame.
  """

  options: blocks.Options
  window: int

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array, dropout) -> jax.Array:
    cls, frames = jnp.split(x_BxNxD, [1], axis=1)
    attend = functools.partial(post_norm.attention, dropout=dropout)
    of_frames = _Projections(self.options, name='window')(frames, x_BxNxD)
    mask = seen(x_BxNxD.shape[1], self.window)[1:]
    y = attend(*of_frames, mask=mask, number=0)
    of_cls = _Projections(self.options, name='global')(cls, x_BxNxD)
    y = jnp.concatenate([attend(*of_cls, number=4), y], axis=1)
    return nn.DenseGeneral(
      x_BxNxD.shape[-1],
      axis=(-2, -1),
      kernel_init=post_norm.NORMAL,
      dtype=self.options.dtype,
      name='out',
    )(y)


def seen(places: int, window: int) -> jax.Array:
  """Returns which places each place sees, bool [N, N]; place 0 is cls."""
  place = jnp.arange(places)
  near = jnp.abs(place[:, None] - place) <= window // 2
  return near | (place == 0) | (place[:, None] == 0)


class Block(post_norm.PostNormBlock):
  window: int = 18

  def attend(self, x_BxNxD, dropout) -> jax.Array:
    return _Attention(self.options, self.window, name='attention')(
      x_BxNxD, dropout
    )


class _Embeddings(nn.Module):
  """Adds positions and types of places; then the norm."""

  options: blocks.Options
  positions: int

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array, frame_BxT: jax.Array) -> jax.Array:
    width = x_BxNxD.shape[-1]
    # The row after the frames' is cls's; the last one is for padding.
    shape = self.positions + 2, width
    table = self.param('frame_embedding', post_norm.NORMAL, shape)
    kinds = self.param('type_embedding', post_norm.NORMAL, (2, width))
    cls, frames = jnp.split(x_BxNxD, [1], axis=1)
    # The remainder, which jax2onnx cannot convert for any number of clips.
    whole = jax.lax.div(frame_BxT, jnp.full_like(frame_BxT, self.positions))
    places = frame_BxT - self.positions * whole
    places = jnp.take(table, places, axis=0, mode='clip')
    cls += (table[self.positions] + kinds[1]).astype(cls.dtype)
    frames += (places + kinds[0]).astype(frames.dtype)
    x = jnp.concatenate([cls, frames], axis=1)
    return blocks.layer_norm(self.options, 'LayerNorm_0')(x)


class Longformer(post_norm.Encoder):
  """Embeddings and blocks, without a final norm."""

  frame_positions: int = 286

  @nn.compact
  def __call__(
    self, x_BxNxD: jax.Array, frame_BxT: jax.Array, mode: Mode
  ) -> list[jax.Array]:
    """Returns `split_first` of the encoded cls and T frames, [B, T + 1, D]."""
    embed = _Embeddings(
      self.options, self.frame_positions, name='posembed_input'
    )
    x = embed(x_BxNxD, frame_BxT)
    if rate := self.rate('posembed_input', mode):
      x = blocks.dropout(x, rate, self.make_rng('dropout'), mode.example_B)
    return self._blocks(x, self._branch_scales(mode))

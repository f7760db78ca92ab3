"""The network of TimeSformer (Bertasius et al., arXiv 2102.05095)."""

import functools

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks, embeddings
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded

_NORMAL = nn.initializers.normal(0.02)


class DividedBlock(nn.Module):
  """Attention over time, attention over space, then an MLP (section 3).

  Over time, the patches of one place attend to each other; a linear layer of
  its own, `temporal_fc`, follows. Over space, each frame attends apart, with
  the clip's class token before its patches; the class token gets the mean of
  its frames' outputs. `temporal_fc` starts at zero in every block, as in the
  official code, so that an image model's block is left as it is.

  Attributes:
    options: block settings.
    grid: token grid (t, h, w).
    class_tokens: number of class tokens, 0 or 1.
    depth_draws: see `TimeSformer`.
    first: see `blocks.EncoderBlock`.
  """

  options: blocks.Options
  grid: tuple[int, int, int]
  class_tokens: int = 1
  depth_draws: str = 'clip'
  first: int = 0

  BRANCHES = 3

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array, scale):
    """Returns [B, N, D], or with `first` its `split_first`.

    Patches have the order (h w t). `scale` is one layer's stochastic depth of
    time, space and MLP.
    """
    in_time, in_space, in_mlp = (None,) * 3 if scale is None else scale
    cls, x = jnp.split(x_BxNxD, [self.class_tokens], axis=1)
    x = einops.rearrange(x, 'B (s t) D -> B s t D', t=self.grid[0])
    x = self._over_time(x, in_time)
    y = einops.rearrange(x, 'B s t D -> B t s D')
    # `einops.repeat` would make 8 axes, more than TFLite can.
    shape = (*y.shape[:2], *cls.shape[1:])
    cls_of_frames = jnp.broadcast_to(cls[:, None], shape)
    y = jnp.concatenate([cls_of_frames, y], axis=2)
    y = blocks.layer_norm(self.options, 'LayerNorm_0')(y)
    y = blocks.attention(self.options, 'MultiHeadDotProductAttention_0')(y, y)
    y = blocks.scaled(y, in_space)
    y_cls, y = jnp.split(y, [self.class_tokens], axis=2)
    cls = cls + y_cls.mean(axis=1)
    x = x + einops.rearrange(y, 'B t s D -> B s t D')
    x = einops.rearrange(x, 'B s t D -> B (s t) D')
    parts = [cls, x] if self.first else [jnp.concatenate([cls, x], axis=1)]
    norm = blocks.layer_norm(self.options, 'LayerNorm_1')
    mlp = blocks.MlpBlock(self.options, name='MlpBlock_0')
    parts = [blocks.add_branch(x, mlp(norm(x)), in_mlp) for x in parts]
    return parts if self.first else parts[0]

  def _over_time(self, x_BxsxtxD: jax.Array, scale) -> jax.Array:
    """Returns the patches after attention over time."""
    y = blocks.layer_norm(self.options, 'LayerNorm_temporal')(x_BxsxtxD)
    y = blocks.attention(self.options, 'MultiHeadDotProductAttention_temporal')(
      y, y
    )
    # The official code drops before `temporal_fc`, whose bias is always added.
    before, after = (scale, None)
    if self.depth_draws == 'clip':
      before, after = after, before
    y = nn.Dense(
      x_BxsxtxD.shape[-1],
      kernel_init=nn.initializers.zeros,
      dtype=self.options.dtype,
      name='temporal_fc',
    )(blocks.scaled(y, before))
    return blocks.add_branch(x_BxsxtxD, y, after)


class Tables(nn.Module):
  """The learned positions in space and, unless `space_only`, in time."""

  space_only: bool

  @nn.compact
  def __call__(
    self, tokens: int, frames: int, width: int
  ) -> tuple[jax.Array, jax.Array | None]:
    """Returns [1, tokens, D], class token included, and [1, frames, D]."""
    space = self.param('pos_embedding', _NORMAL, (1, tokens, width))
    if self.space_only:
      return space, None
    zeros = nn.initializers.zeros
    return space, self.param('time_embedding', zeros, (1, frames, width))


class Encoder(blocks.Encoder):
  """Positions, blocks and the final norm.

  Attributes:
    space_only: whether frames are encoded apart; the mean over frames comes
      before the final norm.
  """

  space_only: bool = False

  @nn.compact
  def __call__(
    self, x_BxtxsxD: jax.Array, cls: jax.Array, mode: Mode
  ) -> tuple[jax.Array, list[jax.Array]]:
    """Encodes the patches of a clip and its class token.

    Args:
      x_BxtxsxD: patches of each frame.
      cls: [1, n, D], with n = 1, or 0 for a model without class token.
      mode: see `Mode`.

    Returns:
      The patches [B, t, s, D]; and `blocks.split_first` of the sequence
      [B, n + N, D] to pool, where N is t s, or s if `space_only`.
    """
    (batch, t, s, width), n = x_BxtxsxD.shape, cls.shape[1]
    tables = Tables(self.space_only, name='posembed_input')(n + s, t, width)
    space, time = (
      None if table is None else table.astype(x_BxtxsxD.dtype)
      for table in tables
    )
    cls = cls.astype(x_BxtxsxD.dtype) + space[:, :n]
    x = x_BxtxsxD + space[:, None, n:]
    norm = blocks.layer_norm(self.options, 'encoder_norm')
    scale = self._branch_scales(mode)
    if self.space_only:
      cls = jnp.broadcast_to(cls[:, None], (batch, t, n, width))
      parts = self._blocks(jnp.concatenate([cls, x], axis=2), scale)
      return norm(parts[-1]), [norm(part.mean(axis=1)) for part in parts]
    x = einops.rearrange(x + time[:, :, None], 'B t s D -> B (s t) D')
    cls = jnp.broadcast_to(cls, (batch, n, width))
    parts = self._blocks(jnp.concatenate([cls, x], axis=1), scale)
    parts = [norm(part) for part in parts]
    return einops.rearrange(parts[-1], 'B (s t) D -> B t s D', t=t), parts


class TimeSformer(nn.Module):
  """TimeSformer with divided, joint or space-only attention (section 3).

  The backbone equals the official one (facebookresearch/TimeSformer), with two
  exceptions in its initial values: the head is zero, and so is the bias of the
  patch embedding.

  Attributes:
    width: D.
    depth: number of blocks.
    options: block settings.
    attention: 'divided', 'joint' or 'space', which attends within frames and
      averages over them.
    patch: height and width of a patch, in pixels.
    depth_draws: draws of stochastic depth. 'clip': one for each clip and
      branch; 'paper': as the official code draws, which is for each place of a
      clip (attention over time), for each frame (attention over space), for
      each clip (MLP; with 'space', for each frame).
    class_token: whether the clip has a class token.
  """

  width: int
  depth: int
  options: blocks.Options
  attention: str = 'divided'
  patch: int = 16
  depth_draws: str = 'clip'
  class_token: bool = True

  @nn.compact
  def __call__(self, video: jax.Array, mode: Mode) -> Encoded:
    """Encodes normalised videos [B, T, H, W, 3]."""
    x = embeddings.TubeletEmbedding(
      self.width,
      (1, self.patch, self.patch),
      embeddings.TORCH_INIT,
      self.options.dtype,
      name='embedding',
    )(video)
    grid = _, h, w = x.shape[1:4]
    x = einops.rearrange(x, 'B t h w D -> B t (h w) D')
    cls = jnp.zeros((1, 0, self.width))
    if self.class_token:
      cls = self.param('cls', _NORMAL, (1, 1, self.width))
    encode = self._encoder(grid)
    x, parts = encode(x, cls, mode)
    tokens = einops.rearrange(x, 'B t (h w) D -> B t h w D', h=h, w=w)
    sequence, summary = blocks.tokens_and_summary(parts)
    return Encoded(tokens, summary, sequence)

  def _encoder(self, grid: tuple[int, int, int]) -> Encoder:
    """Returns the encoder of this kind of attention."""
    t, h, w = grid
    block, rows = blocks.EncoderBlock, None
    if self.attention == 'divided':
      block = functools.partial(
        DividedBlock,
        class_tokens=int(self.class_token),
        depth_draws=self.depth_draws,
      )
    if self.depth_draws == 'paper':
      rows = {
        'divided': ((h * w,), (t,), ()),
        'space': ((t,), (t,)),
        'joint': ((), ()),
      }[self.attention]
    return Encoder(
      self.depth,
      self.options,
      grid,
      block=block,
      branches=DividedBlock.BRANCHES if self.attention == 'divided' else 2,
      first=int(self.class_token),
      rows=rows,
      space_only=self.attention == 'space',
      name='Transformer',
    )

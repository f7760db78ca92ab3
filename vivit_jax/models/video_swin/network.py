"""The network of Video Swin (Liu et al., arXiv 2106.13230).

Stages of blocks that attend within windows of the token grid; every second
block shifts the windows by half their size. Between stages, four neighbours in
space are merged into one token of twice the width.
"""

import dataclasses
import math

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.models import attention, blocks, embeddings
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import Grid
from vivit_jax.models.pools import Encoded

NORMAL = nn.initializers.normal(0.02)
_AXES = (1, 2, 3)  # t, h, w of [B, t, h, w, C]


def cut_window(grid: Grid, window: Grid, shifted: bool) -> tuple[Grid, Grid]:
  """Returns the window and its shift in a grid of tokens.

  Along an axis that is not longer than the window, the window is the whole axis
  and does not shift.
  """
  size = tuple(min(n, w) for n, w in zip(grid, window))
  shift = tuple(
    w // 2 if shifted and n > w else 0 for n, w in zip(grid, window)
  )
  return size, shift


def relative_index(window: Grid, tokens: int | None = None) -> np.ndarray:
  """Returns the row of the bias table for each query and key, int [N, N].

  A row stands for the distance query - key along the three axes.

  Args:
    window: size of a window.
    tokens: N, of the first tokens in the order (t, h, w); None: all.
  """
  tokens = math.prod(window) if tokens is None else tokens
  places = np.stack(np.unravel_index(np.arange(tokens), window), axis=-1)
  distances = places[:, None] - places[None] + np.array(window) - 1
  sides = [2 * side - 1 for side in window]
  return np.ravel_multi_index(np.moveaxis(distances, -1, 0), sides)


def regions(grid: Grid, window: Grid, shift: Grid) -> np.ndarray:
  """Returns the region of each token in each window, int [W, N].

  After the shift, a window at an edge has tokens from opposite edges of the
  grid, which do not attend to each other: their regions differ.

  Args:
    grid: padded to whole windows.
    window, shift: from `cut_window`.
  """
  axes = []
  for side, size, step in zip(grid, window, shift):
    index = np.arange(side)
    edge = (index >= side - size).astype(int) + (index >= side - step)
    axes.append(edge if step else np.zeros_like(index))
  t, h, w = np.meshgrid(*axes, indexing='ij')
  return _partition((t * 9 + h * 3 + w)[None, ..., None], window)[..., 0]


def _partition(x_BxtxhxwxC, window: Grid):
  """Cuts a grid [B, t, h, w, C] into windows, [B W, N, C].

  A permutation of at most 6 axes, which is TFLite's limit.
  """
  t, h, w = window
  x = einops.rearrange(x_BxtxhxwxC, 'B (T t) h w C -> (B T) t h (w C)', t=t)
  x = einops.rearrange(
    x, 'n t (H h) (W c) -> n H W t h c', h=h, W=x_BxtxhxwxC.shape[3] // w
  )
  return x.reshape(-1, math.prod(window), x_BxtxhxwxC.shape[-1])


def _join(x_WxNxC: jax.Array, grid: Grid, window: Grid) -> jax.Array:
  """Inverts `_partition`: [B W, N, C] -> [B, t, h, w, C]."""
  width = x_WxNxC.shape[-1]
  t, h, w = (n // size for n, size in zip(grid, window))
  x = x_WxNxC.reshape(-1, h, w, window[0], window[1], window[2] * width)
  x = einops.rearrange(x, 'n H W t h c -> n t (H h) (W c)')
  return x.reshape(-1, *grid, width)


class Block(nn.Module):
  """Attention within windows and an MLP: [B, t, h, w, C] -> the same.

  Attributes:
    options: block settings.
    window: size of a window, in tokens.
    shifted: whether windows are shifted by half their size.
  """

  options: blocks.Options
  window: Grid
  shifted: bool

  @nn.compact
  def __call__(
    self, x_BxtxhxwxC: jax.Array, scale_RxB: jax.Array | None
  ) -> jax.Array:
    """`scale_RxB` is one layer's `blocks.stochastic_depth`."""
    in_attention, in_mlp = (None, None) if scale_RxB is None else scale_RxB
    x = x_BxtxhxwxC
    y = self._attend(blocks.layer_norm(self.options, 'LayerNorm_0')(x))
    x = blocks.add_branch(x, y, in_attention)
    y = blocks.layer_norm(self.options, 'LayerNorm_1')(x)
    y = blocks.MlpBlock(self.options, name='MlpBlock_0')(y)
    return blocks.add_branch(x, y, in_mlp)

  def _attend(self, x_BxtxhxwxC: jax.Array) -> jax.Array:
    """Returns the attention branch.

    The grid is padded with zeros at its ends to whole windows. Padded tokens
    are not masked, as in the official code.
    """
    grid = x_BxtxhxwxC.shape[1:4]
    window, shift = cut_window(grid, self.window, self.shifted)
    after = [(0, -n % size) for n, size in zip(grid, window)]
    x = jnp.pad(x_BxtxhxwxC, [(0, 0), *after, (0, 0)])
    padded = x.shape[1:4]
    if any(shift):
      x = jnp.roll(x, [-step for step in shift], _AXES)
    x = _partition(x, window)
    bias, region = self._bias(window), regions(padded, window, shift)
    x = blocks.attention(
      self.options,
      'MultiHeadDotProductAttention_0',
      attention_fn=lambda query, key, value, **_: attention.attend_windows(
        query, key, value, bias, region, self.options.attention
      ),
    )(x, x)
    x = _join(x, padded, window)
    if any(shift):
      x = jnp.roll(x, shift, _AXES)
    # Indices with a symbolic batch would be a gather, which TFLite lacks.
    return jax.lax.slice(x, [0] * x.ndim, (x.shape[0], *grid, x.shape[-1]))

  def _bias(self, window: Grid) -> jax.Array:
    """Returns the bias of relative positions, float32 [heads, N, N].

    As in the official code, a cut window of N tokens has the entries of the
    first N tokens of the whole window. If its height or width is cut, these
    belong to other distances.
    """
    table = self.param(
      'relative_position_bias_table',
      NORMAL,
      (
        math.prod(2 * side - 1 for side in self.window),
        self.options.attention_heads,
      ),
    )
    index = relative_index(self.window, math.prod(window))
    return einops.rearrange(table[index], 'n m H -> H n m')


class Merging(nn.Module):
  """Merges 2 x 2 neighbours in space: [B, t, h, w, C] -> [B, t, h/2, w/2, 2C].

  Odd sides are padded with zeros.
  """

  options: blocks.Options

  @nn.compact
  def __call__(self, x_BxtxhxwxC: jax.Array) -> jax.Array:
    batch, t, h, w, width = x_BxtxhxwxC.shape
    x = jnp.pad(x_BxtxhxwxC, [(0, 0), (0, 0), (0, h % 2), (0, w % 2), (0, 0)])
    x = einops.rearrange(x, 'B t (h i) (w j) C -> (B t h) i w (j C)', i=2, j=2)
    # The official order of the four is (0, 0), (1, 0), (0, 1), (1, 1).
    x = einops.rearrange(x, 'n i w (j C) -> n w j i C', j=2)
    x = x.reshape(batch, t, -(-h // 2), -(-w // 2), 4 * width)
    x = blocks.layer_norm(self.options, 'norm')(x)
    return nn.Dense(
      2 * width,
      use_bias=False,
      kernel_init=NORMAL,
      dtype=self.options.dtype,
      name='reduction',
    )(x)


class Stage(nn.Module):
  """Blocks of one width, [B, t, h, w, C] -> the same.

  Attributes:
    depth: number of blocks.
    options: block settings.
    window: size of a window, in tokens.
  """

  depth: int
  options: blocks.Options
  window: Grid

  @nn.compact
  def __call__(
    self, x_BxtxhxwxC: jax.Array, scale_LxRxB: jax.Array | None
  ) -> jax.Array:
    step = blocks.step_of(self.options)
    x = x_BxtxhxwxC
    for number in range(self.depth):
      block = Block(
        self.options, self.window, number % 2 == 1, name=block_name(number)
      )
      x = step(block, x, None if scale_LxRxB is None else scale_LxRxB[number])
    return x


def block_name(number: int) -> str:
  """Returns the name of a block in its stage."""
  return f'encoderblock_{number}'


class VideoSwin(nn.Module):
  """Embedding, stages and a final norm.

  Attributes:
    width: of the first stage; each stage has twice the width of the one before.
    depths: blocks of each stage.
    attention_heads: of each stage.
    options: block settings; `attention_heads` and `mlp` are set by stage.
    tubelet: frames, height and width of a tubelet, in pixels.
    window: size of a window, in tokens.
    mlp_ratio: hidden width of an MLP by the width of its stage.
  """

  width: int
  depths: tuple[int, ...]
  attention_heads: tuple[int, ...]
  options: blocks.Options
  tubelet: Grid
  window: Grid
  mlp_ratio: int

  @nn.compact
  def __call__(self, video: jax.Array, mode: Mode) -> Encoded:
    """Returns the tokens of the last stage, and of each stage.

    A video [B, T, H, W, 3] is padded with zeros at its ends to whole tubelets.
    """
    after = [(0, -n % side) for n, side in zip(video.shape[1:4], self.tubelet)]
    x = embeddings.TubeletEmbedding(
      self.width,
      self.tubelet,
      embeddings.TORCH_INIT,
      self.options.dtype,
      name='embedding',
    )(jnp.pad(video, [(0, 0), *after, (0, 0)]))
    x = blocks.layer_norm(self.options, 'embedding_norm')(x)
    stages = []
    scales = self._branch_scales(mode)
    for number, depth in enumerate(self.depths):
      options = dataclasses.replace(
        self.options,
        attention_heads=self.attention_heads[number],
        mlp=self.mlp_ratio * x.shape[-1],
      )
      stage = Stage(depth, options, self.window, name=f'stage{number}')

      def step(stage, x, scale):
        return stage(x, scale)

      if self.options.remat == 'stages':
        step = nn.remat(step)
      first = sum(self.depths[:number])
      x = step(
        stage, x, None if scales is None else scales[first : first + depth]
      )
      stages.append(x)
      if number < len(self.depths) - 1:
        x = Merging(self.options, name=f'merging{number}')(x)
    x = blocks.layer_norm(self.options, 'encoder_norm')(x)
    return Encoded(x, stages=tuple(stages))

  def _branch_scales(self, mode: Mode) -> jax.Array | None:
    """Draws stochastic depth of all blocks, [L, 2, B]; None if all are kept."""
    names = [
      f'stage{number}/{block_name(block)}'
      for number, depth in enumerate(self.depths)
      for block in range(depth)
    ]
    return blocks.branch_scales(mode, self, names, self.options)

"""The network of MViT (arXiv 2104.11227) and MViT v2 (arXiv 2112.01526).

Tokens have the order (t, h, w); a class token, if any, precedes them.
"""

import math
from collections.abc import Sequence

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import blocks, embeddings
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import Grid
from vivit_jax.models.mvit import layout
from vivit_jax.models.mvit.pooling_attention import NORMAL, Attention, Options
from vivit_jax.models.pools import Encoded


def _stem_bias_init(key, shape, dtype=jnp.float32):
  """Initialises as torch does by default: uniform, to 1 / sqrt(fan in)."""
  bound = (3 * math.prod(layout.STEM_KERNEL)) ** -0.5
  return jax.random.uniform(key, shape, dtype, -bound, bound)


class MLP(nn.Module):
  """Dense to four times the width, exact GELU, dense."""

  out: int
  options: Options

  @nn.compact
  def __call__(self, x_BxNxA: jax.Array) -> jax.Array:
    x = self.options.dense(4 * x_BxNxA.shape[-1], 'Dense_0')(x_BxNxA)
    return self.options.dense(self.out, 'Dense_1')(blocks.gelu(x, 'exact'))


class Block(nn.Module):
  """Pooling attention and an MLP, each with a residual connection.

  At the start of a stage, the first residual connection is max-pooled. Where
  the width changes, a residual connection is a linear layer, `projection`, of
  the normed input: of the MLP in v1, of attention in v2.

  Attributes:
    sizes: of the block.
    options: block settings.
    grid: of the input's tokens.
    first: see `blocks.EncoderBlock`.
  """

  sizes: layout.Block
  options: Options
  grid: Grid
  first: int = 0

  @nn.compact
  def __call__(
    self, x_BxNxC: jax.Array, scale_RxB: jax.Array | None
  ) -> jax.Array | list[jax.Array]:
    """Returns [B, N', C']; with `first`, its `blocks.split_first`.

    `scale_RxB` is one layer's `blocks.stochastic_depth`.
    """
    in_attention, in_mlp = (None, None) if scale_RxB is None else scale_RxB
    sizes, options, x = self.sizes, self.options, x_BxNxC
    y = options.norm('LayerNorm_0')(x)
    if sizes.width != sizes.attention:  # only in v2
      x = options.dense(sizes.attention, 'projection')(y)
    y = Attention(sizes, options, self.grid, name='PoolingAttention_0')(y)
    x = blocks.add_branch(self._max_pooled(x), y, in_attention)
    norm = options.norm('LayerNorm_1')
    mlp = MLP(sizes.out, options, name='MlpBlock_0')
    projection = None
    if sizes.attention != sizes.out:  # only in v1
      projection = options.dense(sizes.out, 'projection')
    parts = []
    for part in blocks.split_first(x, self.first):
      y = norm(part)
      kept = part if projection is None else projection(y)
      parts.append(blocks.add_branch(kept, mlp(y), in_mlp))
    return parts if self.first else parts[0]

  def _max_pooled(self, x_BxNxC: jax.Array) -> jax.Array:
    """Returns [B, N', C] with the query's stride; the class token stays."""
    stride = self.sizes.query_stride
    if not self.sizes.starts_stage:
      return x_BxNxC
    cls, x = jnp.split(x_BxNxC, [self.options.class_tokens], axis=1)
    x = x.reshape(x.shape[0], *self.grid, x.shape[-1])
    kernel = [step + 1 if step > 1 else 1 for step in stride]
    # Padded apart, as jax2onnx knows no pairs of padding.
    edges = [(0, 0), *((size // 2, size // 2) for size in kernel), (0, 0)]
    x = nn.max_pool(
      jnp.pad(x, edges, constant_values=-jnp.inf),
      window_shape=tuple(kernel),
      strides=stride,
      padding='VALID',
    )
    x = einops.rearrange(x, 'B t h w C -> B (t h w) C')
    return jnp.concatenate([cls, x], axis=1)


class Positions(nn.Module):
  """Learned positions of v1: of place, frame and class token, apart."""

  grid: Grid

  @nn.compact
  def __call__(self, cls: jax.Array, x_BxNxC: jax.Array) -> list[jax.Array]:
    """Adds positions to the class token [1, n, C] and to the tokens."""
    (t, h, w), width = self.grid, x_BxNxC.shape[-1]
    space = self.param('space_embedding', NORMAL, (1, h * w, width))
    time = self.param('time_embedding', NORMAL, (1, t, width))
    table = (time[:, :, None] + space[:, None]).reshape(1, -1, width)
    if cls.shape[1]:
      cls = cls + self.param('cls_embedding', NORMAL, (1, 1, width))
    return [cls, x_BxNxC + table.astype(x_BxNxC.dtype)]


class Encoder(nn.Module):
  """Blocks and the final norm.

  Attributes:
    sizes: of each block.
    options: block settings.
    grid: of the embedded tokens.
  """

  sizes: Sequence[layout.Block]
  options: Options
  grid: Grid

  @nn.compact
  def __call__(
    self, cls: jax.Array, x_BxNxC: jax.Array, mode: Mode
  ) -> tuple[list[jax.Array], list[jax.Array]]:
    """Encodes the tokens of a clip and its class token [1, n, C].

    Returns:
      `blocks.split_first` of the encoded tokens, [B, n + N', D]; and the tokens
      [B, t, h, w, C] after each stage, before the final norm.
    """
    n = cls.shape[1]
    if self.options.version == 1:
      cls, x_BxNxC = Positions(self.grid, name='posembed_input')(cls, x_BxNxC)
    shape = (x_BxNxC.shape[0], *cls.shape[1:])
    cls = jnp.broadcast_to(cls.astype(x_BxNxC.dtype), shape)
    x = jnp.concatenate([cls, x_BxNxC], axis=1)
    names = [f'encoderblock_{layer}' for layer in range(len(self.sizes))]
    scales = blocks.branch_scales(mode, self, names, self.options)
    grid, stages = self.grid, []
    starts = [i for i, size in enumerate(self.sizes) if size.starts_stage]
    for first, end in zip([0, *starts], [*starts, len(self.sizes)]):

      def stage(encoder, x, scales, numbers=range(first, end), grid=grid):
        return encoder._stage(x, scales, numbers, grid)

      if self.options.remat == 'stages':
        stage = nn.remat(stage)
      x = stage(self, x, scales)
      grid = layout.after(grid, self.sizes[first].query_stride)
      tokens = x[-1] if isinstance(x, list) else jnp.split(x, [n], axis=1)[1]
      stages.append(tokens.reshape(-1, *grid, tokens.shape[-1]))
    norm = self.options.norm('encoder_norm')
    return [norm(part) for part in (x if n else [x])], stages

  def _stage(
    self,
    x: jax.Array,
    scales: jax.Array | None,
    numbers: range,
    grid: Grid,
  ) -> jax.Array | list[jax.Array]:
    """Returns the output of the blocks of these numbers."""

    step = blocks.step_of(self.options)
    for layer in numbers:
      sizes, last = self.sizes[layer], layer == len(self.sizes) - 1
      block = Block(
        sizes,
        self.options,
        grid,
        first=self.options.class_tokens if last else 0,
        name=f'encoderblock_{layer}',
      )
      x = step(block, x, None if scales is None else scales[layer])
      grid = layout.after(grid, sizes.query_stride)
    return x


class MViT(nn.Module):
  """Cube embedding, class token and encoder.

  Attributes:
    size: of the network.
    options: block settings.
  """

  size: layout.Size
  options: Options

  @nn.compact
  def __call__(self, video: jax.Array, mode: Mode) -> Encoded:
    """Encodes normalised videos [B, T, H, W, 3]; see `pools.Encoded`."""
    _, frames, *crop, _ = video.shape
    kernel = layout.STEM_KERNEL
    x = nn.Conv(
      self.size.width,
      kernel,
      layout.STEM_STRIDE,
      [(side // 2, side // 2) for side in kernel],
      dtype=self.options.dtype,
      kernel_init=embeddings.TORCH_INIT,
      bias_init=_stem_bias_init,
      name='embedding',
    )(video)
    grid = x.shape[1:4]
    x = einops.rearrange(x, 'B t h w C -> B (t h w) C')
    cls = jnp.zeros((1, 0, self.size.width))
    if self.options.class_tokens:
      cls = self.param('cls', NORMAL, (1, 1, self.size.width))
    sizes = layout.blocks(self.size, self.options.version, frames, tuple(crop))
    parts, stages = Encoder(sizes, self.options, grid, name='Transformer')(
      cls, x, mode
    )
    tokens, summary = blocks.tokens_and_summary(parts)
    tokens = tokens.reshape(stages[-1].shape)
    return Encoded(tokens, summary, stages=tuple(stages))

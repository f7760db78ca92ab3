"""Attention among pooled queries, keys and values; settings of all blocks."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import attention, blocks
from vivit_jax.models.family import Grid
from vivit_jax.models.mvit import layout, relative
from vivit_jax.models.mvit.pooling import pool

NORMAL = nn.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class Options(blocks.Options):
  """Settings of all blocks.

  Attributes:
    version: 1 or 2, see `Attention` and `Block`.
    class_tokens: number of class tokens, 0 or 1.
    pool_epsilon: of the norms after pooling.
    bias_init: initial bias of linear layers and norms.
  """

  version: int = 2
  class_tokens: int = 1
  pool_epsilon: float = 1e-6
  bias_init: float = 0.02

  def dense(self, features, name: str, axis=-1) -> nn.DenseGeneral:
    return nn.DenseGeneral(
      features,
      axis,
      dtype=self.dtype,
      kernel_init=NORMAL,
      bias_init=nn.initializers.constant(self.bias_init),
      name=name,
    )

  def norm(self, name: str, epsilon: float | None = None) -> nn.LayerNorm:
    return nn.LayerNorm(
      self.epsilon if epsilon is None else epsilon,
      dtype=self.dtype,
      bias_init=nn.initializers.constant(self.bias_init),
      name=name,
    )


class Convolution(nn.Module):
  """`pooling.pool` with one kernel for all heads, [B, t, h, w, H d]."""

  kernel: Grid
  stride: Grid
  head_width: int

  @nn.compact
  def __call__(self, x_BxtxhxwxA: jax.Array) -> jax.Array:
    shape = (*self.kernel, 1, self.head_width)
    kernel = self.param('kernel', NORMAL, shape).astype(x_BxtxhxwxA.dtype)
    heads = x_BxtxhxwxA.shape[-1] // self.head_width
    # `jnp.tile` would make 10 axes, more than TFLite can.
    kernel = jnp.concatenate([kernel] * heads, axis=-1)
    return pool(x_BxtxhxwxA, kernel, self.stride)


class Attention(nn.Module):
  """Attention among pooled queries, keys and values (v1, section 3.1).

  v2 adds decomposed relative positions to the scores, and the pooled queries to
  the result (v2, section 4.1). The class token is normed with the pooled
  tokens, but not pooled; it has no relative positions and gets no query.

  Attributes:
    sizes: of the block.
    options: block settings.
    grid: of the input's tokens.
  """

  sizes: layout.Block
  options: Options
  grid: Grid

  @nn.compact
  def __call__(self, x_BxNxC: jax.Array) -> jax.Array:
    """Returns [B, N', A]."""
    sizes, options = self.sizes, self.options
    shape = sizes.heads, sizes.attention // sizes.heads
    query, key, value = (
      options.dense(shape, name)(x_BxNxC) for name in ('query', 'key', 'value')
    )
    to_query = sizes.query_kernel, sizes.query_stride
    to_key = sizes.key_kernel, sizes.key_stride
    query, grid = self._pooled('q', query, *to_query)
    key, key_grid = self._pooled('k', key, *to_key)
    value, _ = self._pooled('v', value, *to_key)
    if options.version == 1:
      out = attention.attend(query, key, value, kind=options.attention)
    else:
      tables = self._tables(grid, key_grid, shape[1])
      out = relative.attend(
        query,
        key,
        value,
        tables,
        grid,
        key_grid,
        options.class_tokens,
        options.attention,
      )
      n = [options.class_tokens]
      cls, out = jnp.split(out, n, axis=1)
      out += jnp.split(query, n, axis=1)[1]
      out = jnp.concatenate([cls, out], axis=1)
    return options.dense(sizes.attention, 'out', (-2, -1))(out)

  def _pooled(
    self, part: str, x_BxNxHxd: jax.Array, kernel: Grid | None, stride: Grid
  ) -> tuple[jax.Array, Grid]:
    """Returns pooled and normed tokens [B, N', H, d], and their grid."""
    if kernel is None:
      return x_BxNxHxd, self.grid
    cls, x = jnp.split(x_BxNxHxd, [self.options.class_tokens], axis=1)
    batch, _, heads, width = x.shape
    x = x.reshape(batch, *self.grid, heads * width)
    x = Convolution(kernel, stride, width, name=f'pool_{part}')(x)
    grid = x.shape[1:4]
    x = x.reshape(batch, -1, heads, width)
    x = jnp.concatenate([cls, x], axis=1)
    return self.options.norm(f'norm_{part}', self.options.pool_epsilon)(x), grid

  def _tables(
    self, query_grid: Grid, key_grid: Grid, width: int
  ) -> list[jax.Array]:
    """Returns the rows of the tables for each query and key of each axis."""
    (t, side), tables = self.sizes.table, []
    for axis, size, *ends in zip('thw', (t, side, side), query_grid, key_grid):
      table = self.param(f'rel_pos_{axis}', NORMAL, (2 * size - 1, width))
      tables.append(relative.rows(table, *ends))
    return tables

"""Attention with decomposed relative positions (MViT v2, section 4.1)."""

import einops
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.models import attention
from vivit_jax.models.family import Grid


def index(queries: int, keys: int) -> np.ndarray:
  """Returns the row of a table of 2 max(q, k) - 1 rows, int [q, k].

  The distance between query and key along an axis, in steps of the longer of
  the two; computed in float32, as in the official code.
  """
  key_step = np.float32(max(queries / keys, 1.0))
  query_step = np.float32(max(keys / queries, 1.0))
  i = np.arange(queries, dtype=np.float32)[:, None] * query_step
  j = np.arange(keys, dtype=np.float32)[None] * key_step
  return (i - j + np.float32((keys - 1) * max(queries / keys, 1.0))).astype(int)


def rows(table: jax.Array, queries: int, keys: int) -> jax.Array:
  """Returns the entry of a table for each query and key of an axis, [q, k, d].

  A table [n, d] of another length than 2 max(q, k) - 1 is interpolated
  linearly, with half-pixel centres and without antialiasing.
  """
  size, old = 2 * max(queries, keys) - 1, table.shape[0]
  place = index(queries, keys)
  if size == old:
    return table[place]
  source = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(
    old / size
  ) - np.float32(0.5)
  source = np.maximum(source, 0)
  low = np.minimum(source.astype(int), old - 1)
  high = np.minimum(low + 1, old - 1)
  share = (source - low).astype(np.float32)[place][..., None]
  return table[low[place]] * (1 - share) + table[high[place]] * share


def scores(
  query_BxNxHxd: jax.Array, tables: list[jax.Array], grid: Grid
) -> list[jax.Array]:
  """Returns the products of queries and tables, float32 [B, H, N, k].

  Args:
    query_BxNxHxd: of a grid, without class token.
    tables: `rows` for t, h and w, [q, k, d].
    grid: of the queries.
  """
  t, h, _ = grid
  heads = query_BxNxHxd.shape[2]
  query = einops.rearrange(
    query_BxNxHxd, 'B (t h w) H d -> (B H) t h w d', t=t, h=h
  )
  result = []
  for axis, table in zip('thw', tables):
    product = jnp.einsum(
      f'gthwd,{axis}kd->gthwk',
      query,
      table.astype(query.dtype),
      preferred_element_type=jnp.float32,
    )
    product = einops.rearrange(product, 'g t h w k -> g (t h w) k')
    result.append(einops.rearrange(product, '(B H) N k -> B H N k', H=heads))
  return result


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  tables: list[jax.Array],
  query_grid: Grid,
  key_grid: Grid,
  class_tokens: int,
  kind: str,
) -> jax.Array:
  """Returns the output of attention, [B, N, heads, d].

  To the scores q k / sqrt(d) of tokens, q is added times the tables' rows; the
  class token's get nothing.

  Args:
    query: [B, class_tokens + N, heads, d].
    key, value: [B, class_tokens + M, heads, d].
    tables: `rows` for t, h and w.
    query_grid, key_grid: of N and M.
    class_tokens: number of class tokens before the others.
    kind: 'plain'; or 'chunked', which adds the three products as further
      entries of queries, and as many one-hot entries to keys, so that the sum
      is never in memory. 'auto': the latter for long sequences.
  """
  if kind == 'auto':
    kind = 'chunked' if query.shape[1] >= attention.CHUNKED_FROM else 'plain'
  before = (class_tokens, 0)
  _, of_tokens = jnp.split(query, [class_tokens], axis=1)
  parts = scores(of_tokens, tables, query_grid)
  if kind == 'plain':
    in_t, in_h, in_w = (
      einops.rearrange(x, 'B H N k -> (B H) N k') for x in parts
    )
    bias = (
      in_t[..., :, None, None]
      + in_h[..., None, :, None]
      + in_w[..., None, None, :]
    )
    bias = einops.rearrange(bias, 'g N t h w -> g N (t h w)')
    bias = jnp.pad(bias, ((0, 0), before, before))
    bias = einops.rearrange(bias, '(B H) N M -> B H N M', H=query.shape[2])
    return attention.attend(query, key, value, kind=kind, bias=bias)
  width = query.shape[-1]
  more = einops.rearrange(
    jnp.concatenate(parts, axis=-1), 'B H N k -> B N H k'
  ).astype(query.dtype)
  wide = width + more.shape[-1]
  # `attention.attend` divides by the root of the new width.
  more = jnp.pad(more, ((0, 0), before, (0, 0), (0, 0))) * wide**0.5
  places = np.indices(key_grid).reshape(3, -1)
  hot = np.concatenate(
    [np.eye(n, dtype=np.float32)[x] for n, x in zip(key_grid, places)], axis=1
  )
  hot = np.pad(hot, (before, (0, 0)))[None, :, None]
  hot = jnp.broadcast_to(hot.astype(key.dtype), (*key.shape[:3], hot.shape[-1]))
  return attention.attend(
    jnp.concatenate([query * (wide / width) ** 0.5, more], axis=-1),
    jnp.concatenate([key, hot], axis=-1),
    value,
    kind=kind,
  )

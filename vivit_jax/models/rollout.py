"""Attention rollout (Abnar and Zuidema, arXiv 2005.00928): shared steps.

Each layer maps tokens by A' = 0.5 I + 0.5 A, where A is the mean attention
matrix over heads. The product over layers gives each token's share in the
output, which is the class token or a mean of tokens. Rollout ignores values,
MLPs and norms, and does not depend on the class.

Only one row of the product is needed. It is carried backwards through the
layers, r <- 0.5 r + 0.5 r A. So no N x N product is computed, and only some
rows of A are in memory at a time.
"""

from collections.abc import Mapping
from typing import Any

import einops
import flax
import jax
import jax.numpy as jnp

ROWS = 256  # rows of A in memory at a time


@flax.struct.dataclass
class Rollout:
  """Share of each token in a model's output.

  Attributes:
    attention: float32 [B, t, h, w], share of each token; the sum plus `kept` is
      1.
    kept: float32 [B], share of class tokens; 0 without them.
  """

  attention: jax.Array
  kept: jax.Array

  @property
  def space(self) -> jax.Array:
    """Shares within each temporal index, float32 [B, t, h, w]."""
    return self.attention / self.attention.sum(axis=(2, 3), keepdims=True)

  @property
  def time(self) -> jax.Array:
    """Share of each temporal index, float32 [B, t]."""
    shares = self.attention.sum(axis=(2, 3))
    return shares / shares.sum(axis=1, keepdims=True)


def attended(
  row: jax.Array, query: jax.Array, key: jax.Array, rows: int = ROWS
) -> jax.Array:
  """Returns row @ A, float32 [S, N], A the mean attention matrix over heads.

  Args:
    row: float32 [S, N], one row per sequence.
    query, key: [S, N, heads, d].
    rows: rows of A in memory at a time, per sequence and head.
  """
  tokens, heads, width = query.shape[1:]
  rows = min(rows, tokens)
  padding = -tokens % rows  # padded tokens have no share
  row = jnp.pad(row, ((0, 0), (0, padding)))
  query = jnp.pad(
    query.astype(jnp.float32), ((0, 0), (0, padding), (0, 0), (0, 0))
  )
  key = key.astype(jnp.float32)

  def add_some(total, some):
    shares, queries = some
    scores = jnp.einsum('SnHd,SNHd->SHnN', queries, key) / jnp.sqrt(width)
    weights = jax.nn.softmax(scores, axis=-1)
    return total + jnp.einsum('Sn,SHnN->SN', shares, weights) / heads, None

  parts = (
    einops.rearrange(row, 'S (parts n) -> parts S n', n=rows),
    einops.rearrange(query, 'S (parts n) H d -> parts S n H d', n=rows),
  )
  start = jnp.zeros((key.shape[0], tokens), jnp.float32)
  return jax.lax.scan(add_some, start, parts)[0]


def with_residual(row: jax.Array, seen: jax.Array) -> jax.Array:
  """Adds the residual connection: half of each token's share stays with it."""
  return 0.5 * row + 0.5 * seen


def pair(attention: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
  """Returns the captured queries and keys of an attention module."""
  query, key = (attention[name]['__call__'][0] for name in ('query', 'key'))
  return query, key


def read_out(sequences: int, tokens: int, class_token: bool) -> jax.Array:
  """Returns the initial row, float32 [S, N]: the model's pool as weights.

  All weight on the class token, which precedes `tokens` others; without one,
  equal weights.
  """
  if class_token:
    return jnp.zeros((sequences, tokens + 1)).at[:, 0].set(1.0)
  return jnp.full((sequences, tokens), 1 / tokens)


def split(row: jax.Array, class_token: bool) -> tuple[jax.Array, jax.Array]:
  """Returns the share of the class token [S] and those of the others [S, N]."""
  if class_token:
    return row[:, 0], row[:, 1:]
  return jnp.zeros(len(row)), row

"""Attention rollout: its result, and the steps that families build it from.

Abnar and Zuidema, arXiv 2005.00928: a layer passes on half of a token itself
and half of what it attends to, A' = 0.5 I + 0.5 mean over heads of A, and the
product over the layers says which tokens the class token, or the mean that is
read out, is made of. It follows attention alone, not values, MLPs and norms,
and is of the clip, not of one of its classes.

Only one row of that product is needed, so it is the row that is carried
backwards through the layers, r <- 0.5 r + 0.5 r A: no product of N x N matrices
is made, and of A no more than some rows at a time.
"""

from collections.abc import Mapping
from typing import Any

import einops
import flax
import jax
import jax.numpy as jnp

ROWS = 256  # of A at a time


@flax.struct.dataclass
class Rollout:
  """Where a model looks in each clip of a batch.

  Attributes:
    attention: float32 [B, t, h, w], the share of each token of the clip; with
      `kept` it sums to 1.
    kept: float32 [B], what stays with class tokens, which have no place; 0
      for models without one.
  """

  attention: jax.Array
  kept: jax.Array

  @property
  def space(self) -> jax.Array:
    """Float32 [B, t, h, w], shares within a temporal index: [h, w] sum to 1."""
    return self.attention / self.attention.sum(axis=(2, 3), keepdims=True)

  @property
  def time(self) -> jax.Array:
    """Float32 [B, t], the share of each temporal index: [t] sum to 1."""
    shares = self.attention.sum(axis=(2, 3))
    return shares / shares.sum(axis=1, keepdims=True)


def attended(
  row: jax.Array, query: jax.Array, key: jax.Array, rows: int = ROWS
) -> jax.Array:
  """Returns row @ A, A the mean over heads of the softmax of scaled scores.

  Args:
    row: float32 [S, N], of each of S sequences.
    query, key: [S, N, heads, width of a head].
    rows: of A in memory at a time, of each sequence and head.
  """
  tokens, heads, width = query.shape[1:]
  rows = min(rows, tokens)
  missing = -tokens % rows  # tokens without a share change nothing
  row = jnp.pad(row, ((0, 0), (0, missing)))
  query = jnp.pad(
    query.astype(jnp.float32), ((0, 0), (0, missing), (0, 0), (0, 0))
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
  """Adds a layer's residual connection: half of a token is itself."""
  return 0.5 * row + 0.5 * seen


def pair(attention: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
  """Returns the captured queries and keys of one attention module."""
  query, key = (attention[name]['__call__'][0] for name in ('query', 'key'))
  return query, key


def read_out(sequences: int, tokens: int, class_token: bool) -> jax.Array:
  """Returns the row that the last layer is read with, float32 [S, N].

  The class token's, which comes before `tokens` others, or the mean over them.
  """
  if class_token:
    return jnp.zeros((sequences, tokens + 1)).at[:, 0].set(1.0)
  return jnp.full((sequences, tokens), 1 / tokens)


def split(row: jax.Array, class_token: bool) -> tuple[jax.Array, jax.Array]:
  """Returns what the class token keeps [S], and the others' shares [S, N]."""
  if class_token:
    return row[:, 0], row[:, 1:]
  return jnp.zeros(len(row)), row

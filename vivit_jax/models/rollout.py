"""Attention rollout (Abnar and Zuidema, arXiv 2005.00928): shared steps.

Each layer mixes tokens by A' = 0.5 I + 0.5 A, where A is the attention matrix,
averaged over heads. The product over layers gives each token's share in the
output, which is the class token or the mean of all tokens. Rollout ignores
values, MLPs and norms, and does not depend on the predicted class.

Only one row r of the product is needed. It is passed backwards through the
layers, r <- 0.5 r + 0.5 r A. So no N x N matrices are multiplied, and only some
rows of A are in memory at a time.
"""

from collections.abc import Mapping
from typing import Any

import einops
import flax
import jax
import jax.numpy as jnp

from vivit_jax.models.attention import capped

ROWS = 256  # rows of A in memory at a time, per sequence and head


@flax.struct.dataclass
class Rollout:
  """Share of each token in a model's output.

  Attributes:
    attention: float32 [B, t, h, w], share of each token.
    kept: float32 [B], share of class tokens; 0 without them. All shares sum to
      1.
  """

  attention: jax.Array
  kept: jax.Array


def attended(
  row: jax.Array, query: jax.Array, key: jax.Array, cap: float | None = None
) -> jax.Array:
  """Returns row @ A, float32 [S, N]; A is the attention, averaged over heads.

  Args:
    row: float32 [S, N], one row for each of S sequences.
    query, key: [S, N, heads, d].
    cap: of scores; see `attention.attend`.
  """
  tokens, heads, width = query.shape[1:]
  rows = min(ROWS, tokens)
  padding = -tokens % rows  # padded tokens have no share
  row = jnp.pad(row, ((0, 0), (0, padding)))
  query = jnp.pad(
    query.astype(jnp.float32), ((0, 0), (0, padding), (0, 0), (0, 0))
  )
  key = key.astype(jnp.float32)

  def add_some(total, some):
    shares, queries = some
    scores = jnp.einsum('SnHd,SNHd->SHnN', queries, key) / jnp.sqrt(width)
    weights = jax.nn.softmax(capped(scores, cap), axis=-1)
    return total + jnp.einsum('Sn,SHnN->SN', shares, weights) / heads, None

  parts = (
    einops.rearrange(row, 'S (parts n) -> parts S n', n=rows),
    einops.rearrange(query, 'S (parts n) H d -> parts S n H d', n=rows),
  )
  start = jnp.zeros((key.shape[0], tokens), jnp.float32)
  return jax.lax.scan(add_some, start, parts)[0]


def with_residual(row: jax.Array, seen: jax.Array) -> jax.Array:
  """Returns the row through a residual connection: half of each share stays."""
  return 0.5 * row + 0.5 * seen


def pair(attention: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
  """Returns the captured queries and keys of an attention module."""
  query, key = (attention[name]['__call__'][0] for name in ('query', 'key'))
  return query, key


def read_out(sequences: int, tokens: int, class_token: bool) -> jax.Array:
  """Returns the initial row, float32 [S, N]: the pool's weight of each token.

  With a class token, N is `tokens` + 1 and the first weight is 1. Otherwise all
  weights are equal.
  """
  if class_token:
    return jnp.zeros((sequences, tokens + 1)).at[:, 0].set(1.0)
  return jnp.full((sequences, tokens), 1 / tokens)


def split(row: jax.Array, class_token: bool) -> tuple[jax.Array, jax.Array]:
  """Returns the shares of the class token [S] and of other tokens [S, N]."""
  if class_token:
    return row[:, 0], row[:, 1:]
  return jnp.zeros(len(row)), row


def blocks_of(encoder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """Returns the captured outputs of each block, the last block first."""
  numbers = sorted(
    (int(key.rpartition('_')[2]) for key in encoder), reverse=True
  )
  return [encoder[f'encoderblock_{number}'] for number in numbers]

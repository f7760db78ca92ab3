"""Attention rollout of ViViT's four models; `Family.attention_flow`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import einops
import jax
import jax.numpy as jnp

from vivit_jax.models.builder import pool_of
from vivit_jax.models.family import Grid, ModelConfig
from vivit_jax.models.rollout import (
  Rollout,
  attended,
  blocks_of,
  pair,
  read_out,
  split,
  with_residual,
)

Captured = Mapping[str, Any]
# From one sequence per clip to sequences along an axis of the grid, and back.
_SPLIT = {
  'space': 'B (t s) ... -> (B t) s ...',
  'time': 'B (t s) ... -> (B s) t ...',
}
_MERGE = {'space': '(B t) s -> B (t s)', 'time': '(B s) t -> B (t s)'}


def joint(
  captured: Captured, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of Model 1."""
  return through_one_encoder(captured, config, batch, grid, _through_attention)


def factorised_self_attention(
  captured: Captured, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of Model 3, whose two attentions are in sequence."""

  def through(row, block):
    for axis in reversed(config.options.order.split('_')):
      keys = pair(block[f'MultiHeadDotProductAttention_{axis}'])
      row = with_residual(row, along(axis, grid[0], row, keys))
    return row

  return through_one_encoder(captured, config, batch, grid, through)


def factorised_dot_product(
  captured: Captured, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of Model 4, whose two attentions are in parallel."""

  def through(row, block):
    keys = pair(block['MultiHeadDotProductAttention_0'])
    halves = zip(*(jnp.split(x, 2, axis=-2) for x in keys))
    seen = []
    for axis, half in zip(config.options.order.split('_'), halves):
      apart = [einops.rearrange(x, _SPLIT[axis], t=grid[0]) for x in half]
      seen.append(along(axis, grid[0], row, apart))
    return with_residual(row, sum(seen) / len(seen))

  return through_one_encoder(captured, config, batch, grid, through)


def factorised_encoder(
  captured: Captured, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of Model 2: temporal shares times spatial shares."""
  t, token = grid[0], pool_of(config) == 'token'
  time, kept = jnp.full((batch, t), 1 / t), jnp.zeros(batch)
  if 'TemporalTransformer' in captured:
    row = read_out(batch, t, token)
    for block in blocks_of(captured['TemporalTransformer']):
      row = _through_attention(row, block)
    kept, time = split(row, token)
  return in_space(captured, batch, grid, time, kept, token)


def in_space(
  captured: Captured,
  batch: int,
  grid: Grid,
  time: jax.Array,
  kept: jax.Array,
  token: bool,
) -> Rollout:
  """Returns shares of time, spread over the spatial encoder's tokens.

  Args:
    captured: with the outputs of `SpatialTransformer`.
    batch: B.
    grid: (t, h, w).
    time: share of each temporal index, [B, t].
    kept: share of the temporal encoder's class token, [B].
    token: whether the spatial encoder has a class token.
  """
  t, h, w = grid
  row = read_out(batch * t, h * w, token)
  for block in blocks_of(captured['SpatialTransformer']):
    row = _through_attention(row, block)
  kept_of_index, space = split(row, token)
  space = space.reshape(batch, t, h, w)
  kept = kept + (time * kept_of_index.reshape(batch, t)).sum(axis=1)
  return Rollout(time[:, :, None, None] * space, kept)


def through_one_encoder(
  captured: Captured,
  config: ModelConfig,
  batch: int,
  grid: Grid,
  through: Callable[[jax.Array, Captured], jax.Array],
) -> Rollout:
  """Passes the row through `Transformer` from its last block to its first."""
  t, h, w = grid
  token = pool_of(config) == 'token'
  row = read_out(batch, t * h * w, token)
  for block in blocks_of(captured['Transformer']):
    row = through(row, block)
  kept, row = split(row, token)
  return Rollout(row.reshape(batch, t, h, w), kept)


def _through_attention(row: jax.Array, block: Captured) -> jax.Array:
  keys = pair(block['MultiHeadDotProductAttention_0'])
  return with_residual(row, attended(row, *keys))


def along(
  axis: str,
  t: int,
  row: jax.Array,
  keys: Sequence[jax.Array],
  cap: float | None = None,
) -> jax.Array:
  """Returns `attended` [B, N] for attention along 'space' or 'time'.

  `keys` are queries and keys of the sequences along the axis; `t` is the number
  of temporal indices; `cap`: of scores.
  """
  seen = attended(einops.rearrange(row, _SPLIT[axis], t=t), *keys, cap)
  return einops.rearrange(seen, _MERGE[axis], B=len(row))

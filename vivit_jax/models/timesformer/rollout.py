"""Explanations of TimeSformer: `Family.attention_flow` and `cam_map`."""

from collections.abc import Mapping
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

_SPACE = 'MultiHeadDotProductAttention_0'
_TIME = 'MultiHeadDotProductAttention_temporal'


def flow(
  captured: Mapping[str, Any], config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout of TimeSformer.

  'joint': as of ViViT's Model 1. 'space': the rollout within each frame; the
  frames have equal shares. 'divided': each block mixes tokens twice, over time
  and then over space. Over time, patches mix with those of their place, and
  the class token stays as it is. Over space, a patch mixes with the class token
  and the patches of its frame, and the class token with the mean over frames of
  what it attends to. As of all linear layers, rollout knows nothing of
  `temporal_fc`: attention over time weighs the same if that layer is zero.
  """
  t, h, w = grid
  token = pool_of(config) == 'token'
  blocks = blocks_of(captured['Transformer'])
  if config.options.attention == 'space':
    row = read_out(batch * t, h * w, token)
    for block in blocks:
      # [B, t, n + s, heads, d]
      keys = (
        einops.rearrange(x, 'B t n H d -> (B t) n H d')
        for x in pair(block[_SPACE])
      )
      row = with_residual(row, attended(row, *keys))
    kept, shares = split(row, token)
    kept = einops.reduce(kept, '(B t) -> B', 'mean', t=t)
    shares = einops.rearrange(
      shares / t, '(B t) (h w) -> B t h w', t=t, h=h, w=w
    )
    return Rollout(shares, kept)
  row = read_out(batch, t * h * w, token)
  for block in blocks:
    if config.options.attention == 'joint':
      row = with_residual(row, attended(row, *pair(block[_SPACE])))
    else:
      row = _over_space(row, block, t, token)
      row = _over_time(row, block, t, token)
  kept, shares = split(row, token)
  shares = einops.rearrange(shares, 'B (h w t) -> B t h w', t=t, h=h, w=w)
  return Rollout(shares, kept)


def on_grid(
  products: jax.Array, config: ModelConfig, batch: int, grid: Grid
) -> jax.Array:
  """Returns [B, t, h, w] of a sequence per clip or per frame; `cam_map`."""
  t, h, w = grid
  if config.options.attention == 'joint':
    products = products[:, -t * h * w :]
    return einops.rearrange(products, 'B (h w t) -> B t h w', t=t, h=h)
  return products[..., -h * w :].reshape(batch, t, h, w)


def _over_time(row, block, t: int, token: bool) -> jax.Array:
  """Passes a row [B, n + s t] through attention over time."""
  keys = (
    einops.rearrange(x, 'B s t H d -> (B s) t H d') for x in pair(block[_TIME])
  )
  cls, shares = jnp.split(row, [int(token)], axis=1)
  shares = einops.rearrange(shares, 'B (s t) -> (B s) t', t=t)
  shares = with_residual(shares, attended(shares, *keys))
  shares = einops.rearrange(shares, '(B s) t -> B (s t)', B=len(row))
  return jnp.concatenate([cls, shares], axis=1)


def _over_space(row, block, t: int, token: bool) -> jax.Array:
  """Passes a row [B, n + s t] through attention over space."""
  keys = (
    einops.rearrange(x, 'B t n H d -> (B t) n H d') for x in pair(block[_SPACE])
  )
  cls, shares = jnp.split(row, [int(token)], axis=1)
  # The class token's share goes to its frames in equal parts.
  of_frames = einops.repeat(cls / t, 'B n -> (B t) n', t=t)
  shares = einops.rearrange(shares, 'B (s t) -> (B t) s', t=t)
  seen = attended(jnp.concatenate([of_frames, shares], axis=1), *keys)
  seen_cls, seen = jnp.split(seen, [int(token)], axis=1)
  seen_cls = einops.reduce(seen_cls, '(B t) n -> B n', 'sum', t=t)
  seen = einops.rearrange(seen, '(B t) s -> B (s t)', t=t)
  return with_residual(row, jnp.concatenate([seen_cls, seen], axis=1))

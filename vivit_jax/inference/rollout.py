"""Where a model looks: attention rollout of any family that has one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.models import builder, family, rollout, stacking
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.rollout import Rollout as Rollout

_POOLS = ('token', 'mean')  # how the last layer is read is known of these


def attention_rollout(
  config: ModelConfig, rows: int = rollout.ROWS
) -> Callable[[Any, jax.Array], Rollout]:
  """Returns (parameters, videos) -> rollout, compiled once for a shape.

  Parameters are the model's, layers one by one or stacked; videos are float
  [B, T, H, W, 3], normalised (`pixels.normalise`). The attention is computed
  again in float32 from the queries and keys of the model's own forward pass.

  Args:
    config: of the model.
    rows: of an attention matrix that are in memory at a time.

  Raises:
    UserError: a family whose attention says nothing about places, or a pool
      whose weights are not known to rollout.
  """
  of = family.get(config.family)
  if of.attention_flow is None:
    raise UserError(
      f'attention rollout is not defined for {of.name}: explain a model of '
      f'{", ".join(_with_rollout())}.'
    )
  if (pool := builder.pool_of(config)) not in _POOLS:
    raise UserError(
      f'attention rollout reads a class token or a mean, and model.pool is '
      f"'{pool}': explain a model with pool {' or '.join(_POOLS)}."
    )
  config = dataclasses.replace(config, scan=False, remat='none')
  model = models.build(config)

  def flow(params, video):
    _, state = model.apply(
      {'params': stacking.unstack(params)},
      video,
      features=True,
      capture_intermediates=_is_query_or_key,
      mutable='intermediates',
    )
    batch, frames, *crop, _ = video.shape
    grid = of.grid(config.options, frames, tuple(crop))
    with jax.default_matmul_precision('highest'):
      captured = state['intermediates']
      return of.attention_flow(captured, config, batch, grid, rows)

  return jax.jit(flow)


def _with_rollout() -> list[str]:
  return [n for n, f in family.every().items() if f.attention_flow is not None]


def _is_query_or_key(module: nn.Module, method: str) -> bool:
  return method == '__call__' and module.name in ('query', 'key')

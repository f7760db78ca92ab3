"""Attention rollout (Abnar and Zuidema, arXiv 2005.00928) for all families."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.models import builder, family, stacking
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.rollout import Rollout as Rollout

_POOLS = 'token', 'mean', 'mean_norm'  # that rollout supports


def attention_rollout(config: ModelConfig) -> Callable[..., Rollout]:
  """Returns a function (parameters, videos, frame numbers) -> rollout.

  It is compiled per shape. Parameters may have stacked layers. Videos are float
  [B, T, H, W, 3], normalised by `pixels.normalise`. Frame numbers, int [B, T],
  are for models that read them; others need none. Attention is recomputed in
  float32 from the queries and keys of a forward pass.

  Raises:
    UserError: rollout is not defined for the family or the pool.
  """
  if reason := why_not(config):
    raise UserError(f'{reason}: set --explain_by=gradient.')
  model_family = family.get(config.family)
  config = dataclasses.replace(config, scan=False, remat='none')
  model = models.build(config)

  def is_captured(module: nn.Module, method: str) -> bool:
    return method == '__call__' and module.name in ('query', 'key')

  def flow(params, video, frame_BxT=None):
    _, state = model.apply(
      {'params': stacking.unstack(params)},
      video,
      frame_BxT=frame_BxT if model.reads_frame_numbers else None,
      features=True,
      capture_intermediates=is_captured,
      mutable='intermediates',
    )
    batch, frames, *crop, _ = video.shape
    grid = model_family.grid(config.options, frames, tuple(crop))
    with jax.default_matmul_precision('highest'):
      captured = state['intermediates']
      return model_family.attention_flow(captured, config, batch, grid)

  return jax.jit(flow)


def why_not(config: ModelConfig) -> str | None:
  """Returns why a model has no attention rollout; None if it has."""
  if family.get(config.family).attention_flow is None:
    return f'attention rollout is not defined for {config.family}'
  if config.clips > 1:
    return f'attention rollout is not defined for model.clips={config.clips}'
  if (pool := builder.pool_of(config)) not in _POOLS:
    return f"attention rollout is not defined for model.pool='{pool}'"
  return None

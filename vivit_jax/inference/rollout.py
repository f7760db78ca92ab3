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

_POOLS = ('token', 'mean')  # values of model.pool that rollout supports


def attention_rollout(
  config: ModelConfig,
) -> Callable[..., Rollout]:
  """Returns a function (parameters, videos, frame numbers) -> rollout.

  It is compiled per shape. Parameters may have stacked layers. Videos are float
  [B, T, H, W, 3], normalised by `pixels.normalise`. Frame numbers, int [B, T],
  are for models that read them; others need none. Attention is recomputed in
  float32 from the queries and keys of a forward pass.

  Args:
    config: of the model.

  Raises:
    UserError: rollout is not defined for the family or the pool.
  """
  model_family = family.get(config.family)
  if model_family.attention_flow is None:
    raise UserError(
      f'attention rollout is not defined for {model_family.name}; it is for '
      f'{", ".join(_families_with_rollout())}.'
    )
  if (pool := builder.pool_of(config)) not in _POOLS:
    raise UserError(
      f"attention rollout is not defined for model.pool='{pool}'; it is for "
      f'{" and ".join(_POOLS)}.'
    )
  config = dataclasses.replace(config, scan=False, remat='none')
  model = models.build(config)

  def flow(params, video, frame_BxT=None):
    _, state = model.apply(
      {'params': stacking.unstack(params)},
      video,
      frame_BxT=frame_BxT if model.reads_frame_numbers else None,
      features=True,
      capture_intermediates=_is_query_or_key,
      mutable='intermediates',
    )
    batch, frames, *crop, _ = video.shape
    grid = model_family.grid(config.options, frames, tuple(crop))
    with jax.default_matmul_precision('highest'):
      captured = state['intermediates']
      return model_family.attention_flow(captured, config, batch, grid)

  return jax.jit(flow)


def _families_with_rollout() -> list[str]:
  return [n for n, f in family.every().items() if f.attention_flow is not None]


def _is_query_or_key(module: nn.Module, method: str) -> bool:
  return method == '__call__' and module.name in ('query', 'key')

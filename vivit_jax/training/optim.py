"""Learning rate schedules and optimisers, built from optax."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vivit_jax.config import OptimConfig
from vivit_jax.models.family import ModelConfig
from vivit_jax.training import param_groups


def schedule(
  config: OptimConfig, *, steps: int, steps_per_epoch: float
) -> optax.Schedule:
  """Returns step -> learning rate: linear warm-up, then decay.

  The warm-up starts at `warmup_rate` times the peak, the `learning_rate`.
  'cosine', 'linear' and 'polynomial' decay from the peak to `final_rate` times
  the peak: by half a cosine, linearly, or as (1 - progress) ** `power`. 'step'
  multiplies the rate by `decay_factor` after every `decay_epochs` epochs, or at
  each of the epochs `decay_at`, counted from the start of training; 'constant'
  stays at the peak.
  """
  peak = config.learning_rate
  warmup = config.warmup_steps
  if warmup is None:
    warmup = round(config.warmup_epochs * steps_per_epoch)
  warmup = min(warmup, steps - 1)
  start = peak * config.warmup_rate if warmup else peak
  rise = optax.linear_schedule(start, peak, warmup)
  after = steps - warmup
  match config.schedule:
    case 'cosine':
      fall = optax.cosine_decay_schedule(peak, after, alpha=config.final_rate)
    case 'linear' | 'polynomial':
      power = 1.0 if config.schedule == 'linear' else config.power
      end = peak * config.final_rate
      fall = optax.polynomial_schedule(peak, end, power, after)
    case 'step':
      every = max(1, round(config.decay_epochs * steps_per_epoch))
      # The first step in each of the epochs; a step may span two epochs.
      at = [math.ceil(x * steps_per_epoch - 1e-6) for x in config.decay_at]

      def fall(step):
        step = jnp.asarray(step) + warmup
        times = step // every
        if at:
          times = jnp.searchsorted(jnp.array(at), step, 'right')
        return peak * jnp.float32(config.decay_factor) ** times

    case 'constant':
      fall = optax.constant_schedule(peak)
  return optax.join_schedules([rise, fall], [warmup])


def rates(rate: optax.Schedule, steps: int) -> np.ndarray:
  """Returns the learning rate at each step from 0, float32 [steps + 1]."""
  return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(steps + 1)))


def optimiser(
  config: OptimConfig, rate: optax.Schedule, model: ModelConfig | None = None
) -> optax.GradientTransformation:
  """Returns the optimiser: clip by global norm, update rule, rates by group.

  Its `init` takes all parameters, and creates state for the trainable ones only
  (`param_groups.trainable`). Its `update` takes trainable parameters and their
  gradients only, so frozen ones do not count in the clipped norm. Gradients are
  averaged over all devices before. `init` raises a UserError for patterns that
  do not fit the parameters, and for a parameter without a layer.

  `optax.partition` with `set_to_zero` would need gradients for frozen
  parameters too, which are not computed.

  Args:
    config: the update rule, clip and patterns.
    rate: number of updates made -> learning rate.
    model: defines the layers for `config.layer_decay`; may be None without it.
  """
  parts = []
  if config.clip_norm is not None:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  whole = optax.chain(*parts, *_rule(config, rate))
  if config.layer_decay != 1.0:
    scales = functools.partial(
      param_groups.layer_scales, decay=config.layer_decay, model=model
    )
    whole = optax.chain(whole, _scaled(scales))
  if config.backbone_rate != 1.0:
    scales = functools.partial(
      param_groups.backbone_scales, rate=config.backbone_rate
    )
    whole = optax.chain(whole, _scaled(scales))
  if config.freeze is None and config.train is None:
    return whole

  def init(params):
    mask = param_groups.trainable(params, config)
    return whole.init(param_groups.select(params, mask))

  return optax.GradientTransformation(init, whole.update)


def updates_made(opt_state: optax.OptState) -> jax.Array:
  """Returns the number of updates made, int32 []; skipped steps do not count.

  The learning rate depends on it. Of several heads side by side, the most.
  """
  return optax.tree.get_all_with_path(opt_state, 'count')[-1][1].max()


def _rule(
  config: OptimConfig, rate: optax.Schedule
) -> list[optax.GradientTransformation]:
  """Returns the transformations of the update rule, in order.

  sgd, adam and lars add weight decay to the gradient; adamw, lamb and lion
  decouple it. LAMB (You et al., arXiv 1904.00962) scales the update of every
  parameter by a trust ratio. LARS (You et al., arXiv 1708.03888) does so only
  for parameters with weight decay, with a coefficient of 0.001.
  """
  decay, moments = config.weight_decay, dict(b1=config.b1, b2=config.b2)
  # A traced decay, that of one of several heads, may be 0.
  decays = isinstance(decay, jax.Array) or decay > 0
  epsilon = 1e-6 if config.name == 'lamb' else 1e-8
  adams = moments | dict(eps=config.epsilon or epsilon)
  mask = functools.partial(param_groups.decay_mask, on=config.weight_decay_on)
  decoupled = dict(weight_decay=decay, mask=mask)
  added = optax.add_decayed_weights(decay, mask)
  momentum = dict(decay=config.momentum, nesterov=config.nesterov)
  match config.name:
    case 'sgd':
      sgd = optax.sgd(rate, config.momentum, config.nesterov)
      return [added, sgd] if decays else [sgd]
    case 'adam':
      adam = optax.adam(rate, **adams)
      return [added, adam] if decays else [adam]
    case 'adamw':
      return [optax.adamw(rate, **adams, **decoupled)]
    case 'lion':
      return [optax.lion(rate, **moments, **decoupled)]
    case 'lamb':
      return [
        optax.scale_by_adam(**adams),
        added,
        _trust_ratio(1.0),
        optax.scale_by_learning_rate(rate),
      ]
    case 'lars':
      return [
        added,
        optax.masked(_trust_ratio(0.001), mask),
        optax.scale_by_learning_rate(rate),
        optax.trace(**momentum),
      ]


def _trust_ratio(coefficient: float) -> optax.GradientTransformation:
  """Returns `optax.scale_by_trust_ratio`, also by layer in stacked arrays."""
  ratio = optax.scale_by_trust_ratio(trust_coefficient=coefficient)

  def scale(update, weights):
    return ratio.update(update, optax.EmptyState(), weights)[0]

  return optax.stateless(
    lambda updates, params: param_groups.map_layers(scale, updates, params)
  )


def _scaled(scales_of: Callable[[Any], Any]) -> optax.GradientTransformation:
  """Returns a transformation that scales updates by a factor for each.

  As the rule's last factor is the learning rate, this is a learning rate by
  parameter, weight decay included, as of torch's parameter groups.
  """

  def init(params):
    scales_of(params)  # refuses unknown names
    return optax.EmptyState()

  def scale(updates, state, params):
    del params
    return jax.tree.map(jnp.multiply, updates, scales_of(updates)), state

  return optax.GradientTransformation(init, scale)

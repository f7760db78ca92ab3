"""The optimiser and its schedule, from optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vivit_jax.config import OptimConfig
from vivit_jax.models.family import ModelConfig
from vivit_jax.training import parameters

_EPSILON = {'lamb': 1e-6}  # of those that have not Adam's own, 1e-8


def schedule(
  config: OptimConfig, *, steps: int, steps_per_epoch: float
) -> optax.Schedule:
  """Returns step -> learning rate: linear warm-up from 0, then the schedule.

  'cosine', 'linear' and 'polynomial' go from the peak to `final_rate` of it:
  by half a cosine, by a line, by (1 - share done) ** `power`. 'step' multiplies
  the peak with `decay_factor` at the end of each `decay_epochs` epochs of the
  training, warm-up included; 'constant' stays.

  Args:
    config: the schedule, its peak and the length of the warm-up.
    steps: of the whole training.
    steps_per_epoch: turns epochs into steps.
  """
  peak = config.learning_rate
  warmup = config.warmup_steps
  if warmup is None:
    warmup = round(config.warmup_epochs * steps_per_epoch)
  warmup = min(warmup, steps - 1)
  rise = optax.linear_schedule(0.0 if warmup else peak, peak, warmup)
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

      def fall(step):
        times = (jnp.asarray(step) + warmup) // every
        return peak * jnp.float32(config.decay_factor) ** times

    case 'constant':
      fall = optax.constant_schedule(peak)
  return optax.join_schedules([rise, fall], [warmup])


def rates(rate: optax.Schedule, steps: int) -> np.ndarray:
  """Returns the learning rates of a schedule by step, float32 [steps + 1]."""
  return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(steps + 1)))


def optimiser(
  config: OptimConfig, rate: optax.Schedule, model: ModelConfig | None = None
) -> optax.GradientTransformation:
  """Returns clip by global norm, then the rule of `config.name`.

  The gradient that it is given is the mean over all devices already, so that
  the clip does not depend on their number. Then each layer's update is scaled
  (`parameters.layer_scales`). Its `init` takes all parameters, and makes a
  state for those that learn (`parameters.learned`); its `update` takes those
  alone, so that frozen ones have no part in the clip either.

  Args:
    config: the rule.
    rate: updates made before -> the learning rate.
    model: whose layers `config.layer_decay` goes by; None without one.

  `init` raises:
    UserError: patterns or layer rules that do not fit the parameters.
  """
  parts = []
  if config.clip_norm is not None:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  whole = optax.chain(*parts, *_rule(config, rate))
  if config.layer_decay != 1.0:
    whole = optax.chain(whole, _scaled_layers(config.layer_decay, model))
  if config.freeze is not None or config.train is not None:
    whole = _of_learned(whole, config)
  return whole


def updates_made(opt_state: optax.OptState) -> jax.Array:
  """Returns how many updates an optimiser of `optimiser` has made, int32 [...].

  By it goes the learning rate; steps that were skipped do not count.
  """
  return optax.tree.get_all_with_path(opt_state, 'count')[-1][1]


def _rule(
  config: OptimConfig, rate: optax.Schedule
) -> list[optax.GradientTransformation]:
  """Returns what becomes of the clipped gradient, in order.

  The weight decay of sgd, adam and lars is added to the gradient; that of
  adamw, lamb and lion is decoupled. LAMB (You et al., arXiv 1904.00962) adapts
  the rate of every parameter, LARS (You et al., arXiv 1708.03888) that of
  those that decay, with its coefficient of 0.001.
  """
  decay, moments = config.weight_decay, dict(b1=config.b1, b2=config.b2)
  adams = moments | dict(eps=config.epsilon or _EPSILON.get(config.name, 1e-8))
  decoupled = dict(weight_decay=decay, mask=parameters.decayed)
  added = optax.add_decayed_weights(decay, parameters.decayed)
  momentum = dict(decay=config.momentum, nesterov=config.nesterov)
  match config.name:
    case 'sgd':
      sgd = optax.sgd(rate, config.momentum, config.nesterov)
      return [added, sgd] if decay else [sgd]
    case 'adam':
      adam = optax.adam(rate, **adams)
      return [added, adam] if decay else [adam]
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
        optax.masked(_trust_ratio(0.001), parameters.decayed),
        optax.scale_by_learning_rate(rate),
        optax.trace(**momentum),
      ]


def _trust_ratio(coefficient: float) -> optax.GradientTransformation:
  """Returns `optax.scale_by_trust_ratio` of each layer, stacked or not."""
  one = optax.scale_by_trust_ratio(trust_coefficient=coefficient)

  def scale(update, weights):
    return one.update(update, optax.EmptyState(), weights)[0]

  return optax.stateless(
    lambda updates, params: parameters.each_layer(scale, updates, params)
  )


def _of_learned(
  inner: optax.GradientTransformation, config: OptimConfig
) -> optax.GradientTransformation:
  """Returns `inner` with a state for the parameters that learn alone."""

  def init(params):
    chosen = parameters.learned(params, config)
    return inner.init(parameters.select(params, chosen))

  return optax.GradientTransformation(init, inner.update)


def _scaled_layers(
  decay: float, model: ModelConfig
) -> optax.GradientTransformation:
  """Returns the scaling of updates by `parameters.layer_scales`."""

  def scale(updates, params):
    del params
    scales = parameters.layer_scales(updates, decay, model)
    return jax.tree.map(lambda x, share: x * share, updates, scales)

  return optax.stateless(scale)

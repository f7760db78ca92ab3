"""The optimiser and its schedule, from optax."""

import jax
import optax

from vivit_jax.config import OptimConfig


def schedule(
  config: OptimConfig, *, steps: int, steps_per_epoch: float
) -> optax.Schedule:
  """Returns step -> learning rate: linear warm-up from 0, then half a cosine.

  Args:
    config: peak and length of the warm-up.
    steps: of the whole training; the rate is 0 at its end.
    steps_per_epoch: turns the warm-up's epochs into steps.
  """
  warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0 if warmup else config.learning_rate,
    peak_value=config.learning_rate,
    warmup_steps=warmup,
    decay_steps=steps,
  )


def decayed(params) -> dict:
  """Returns a tree of bools: True for kernels, which weight decay shrinks.

  Biases, norms, positions and class tokens are left alone.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )


def optimiser(
  config: OptimConfig, rate: optax.Schedule
) -> optax.GradientTransformation:
  """Returns clip by global norm, then SGD with momentum or AdamW.

  The gradient that it is given is the mean over all devices already, so that
  the clip does not depend on their number. The weight decay of SGD is added to
  the clipped gradient; that of AdamW is decoupled.
  """
  parts = []
  if config.clip_norm is not None:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.name == 'sgd':
    if config.weight_decay:
      parts.append(optax.add_decayed_weights(config.weight_decay, decayed))
    parts.append(optax.sgd(rate, momentum=config.momentum))
  else:
    parts.append(
      optax.adamw(
        rate,
        b1=config.b1,
        b2=config.b2,
        weight_decay=config.weight_decay,
        mask=decayed,
      )
    )
  return optax.chain(*parts)

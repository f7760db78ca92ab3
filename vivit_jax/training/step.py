"""One update: augment, forward, loss, mean of gradients, clip, update."""

from collections.abc import Callable, Mapping
from typing import Any

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vivit_jax import parallel
from vivit_jax.config import TrainConfig
from vivit_jax.training import inputs, losses, parameters


@flax.struct.dataclass
class TrainState:
  """What training carries on: all that a checkpoint must hold."""

  step: jax.Array  # int32, updates made or skipped
  params: Any
  opt_state: optax.OptState
  ema: Any = None  # a moving average of `params`, where `train.ema` asks


def initialise(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> TrainState:
  """Returns the state before the first step, random from the seed."""
  video = jnp.zeros((1, config.data.frames, *config.data.crop, 3))
  key = jax.random.key(config.train.seed)
  params = jax.jit(model.init)(key, video)['params']
  state = TrainState(jnp.int32(0), params, optimiser.init(params))
  return with_parameters(state, params, config)


def with_parameters(
  state: TrainState, params: Any, config: TrainConfig
) -> TrainState:
  """Returns the state before the first step from these parameters."""
  ema = jax.tree.map(jnp.copy, params) if config.train.ema else None
  return state.replace(params=params, ema=ema)


def evaluated(state: TrainState, config: TrainConfig) -> Any:
  """Returns the parameters that validation scores: `evaluation.ema`."""
  averaged = state.ema is not None and config.evaluation.ema
  return state.ema if averaged else state.params


def train_step(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> Callable[
  [TrainState, Mapping[str, Any]], tuple[TrainState, dict[str, jax.Array]]
]:
  """Returns (state, batch) -> (state, metrics), mapped over devices.

  State and metrics have a leading device axis; the batch is sharded: `video`
  uint8 [devices, b, T, H, W, 3], `labels` of each head, int32 [devices, b], or
  float32 [devices, b, K] where a video may have several, and with RandAugment
  `randaugment`, float32 [devices, b, layers, 4].
  Metrics are means over the global batch. The old state's memory is reused.

  Where the loss, or the norm of gradient or update, is not finite, the step
  counts, its metric `skipped` is 1, and all else of the state stays, the
  optimiser's count of updates too, by which the learning rate goes. Frozen
  parameters (`parameters.learned`) pass through as they are.

  Args:
    model: the network.
    optimiser: of its parameters.
    config: the experiment.
    class_weights: float32 [K] of each head whose examples are weighted by their
      class; the metric `loss` is weighted too.
  """

  def step(state, batch):
    gradient, metrics = gradient_of_step(
      batch, state.step, state.params, model, config, class_weights
    )
    metrics['gradient_norm'] = optax.tree.norm(gradient)
    chosen = parameters.learned(state.params, config.optim)
    before = _Changing(
      parameters.select(state.params, chosen),
      state.opt_state,
      None if state.ema is None else parameters.select(state.ema, chosen),
    )
    updates, opt_state = optimiser.update(
      gradient, before.opt_state, before.params
    )
    params = optax.apply_updates(before.params, updates)
    ema = averaged(before.ema, params, state.step, config.train.ema)
    # A rate may be so large that a finite gradient leads to no finite place.
    finite = jnp.isfinite(
      metrics['loss'] + metrics['gradient_norm'] + optax.tree.norm(updates)
    )
    metrics['skipped'] = 1.0 - finite
    after = jax.tree.map(
      lambda new, old: jnp.where(finite, new, old),
      _Changing(params, opt_state, ema),
      before,
    )
    state = TrainState(
      step=state.step + 1,
      params=parameters.replaced(state.params, after.params),
      opt_state=after.opt_state,
      ema=state.ema and parameters.replaced(state.ema, after.ema),
    )
    return state, metrics

  return parallel.map_over_devices(step, donate=(0,))


@flax.struct.dataclass
class _Changing:
  """The parts of a state that an update changes: those that learn."""

  params: Any
  opt_state: optax.OptState
  ema: Any


def gradient_of_step(
  batch: Mapping[str, Any],
  step: jax.Array,
  params: Any,
  model: nn.Module,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[Any, dict[str, jax.Array]]:
  """Returns the gradient of the parameters that learn, and the metrics.

  With `optim.sam_rho`, the gradient is that of the point `uphill`, and the
  metrics are of the parameters. Called inside a function mapped over devices,
  with the arguments of `gradient_on`.
  """
  gradient_of = gradient_on(batch, step, params, model, config, class_weights)
  chosen = parameters.learned(params, config.optim)
  learned = parameters.select(params, chosen)
  gradient, metrics = gradient_of(learned)
  if config.optim.sam_rho:
    # The gradient is the mean over all devices: so is where it leads to.
    near = uphill(learned, gradient, config.optim.sam_rho)
    gradient = gradient_of(near)[0]
  return gradient, metrics


def uphill(params: Any, gradient: Any, distance: float) -> Any:
  """Returns the parameters, moved along the gradient by a distance.

  The loss there, to first order the largest within that distance, is what SAM
  descends (Foret et al., arXiv 2010.01412, equation 2; `optim.sam_rho`). The
  norm is that of all parameters together; a gradient of zero moves nothing.
  """
  share = distance / (optax.tree.norm(gradient) + 1e-12)
  return jax.tree.map(lambda x, g: x + share * g, params, gradient)


def averaged(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
  """Returns the moving average of parameters after a step; None of None.

  The decay is min(decay, (1 + t) / (10 + t)), t steps having been made before,
  so that the random start is soon forgotten (TensorFlow's
  ExponentialMovingAverage with `num_updates`, timm's ModelEmaV3 has the like).
  What does not change, frozen parameters, is kept bit by bit.
  """
  if ema is None:
    return None
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(
    lambda old, new: old + (1.0 - decay) * (new - old), ema, params
  )


def gradient_on(
  batch: Mapping[str, Any],
  step: jax.Array,
  params: Any,
  model: nn.Module,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> Callable[[Any], tuple[Any, dict[str, jax.Array]]]:
  """Returns learned parameters -> (gradient, metrics), over the global batch.

  Both are means. Every device computes them in `train.accumulate` parts of
  consecutive clips, one after another. All draws are keyed by the step and the
  clips' places, so that neither the parts nor a second call change them. Called
  inside a function mapped over devices.

  Args:
    batch: of this device, as `train_step` takes it.
    step: int32, updates made before.
    params: all of them; those that do not learn are taken from here.
    model: the network.
    config: the experiment.
    class_weights: as of `train_step`.
  """
  chosen = parameters.learned(params, config.optim)
  if frozen := parameters.frozen_modules(chosen, params):
    model = model.clone(frozen=frozen)
  ready = inputs.prepare(batch, step, config, model.heads, class_weights)
  place_B = parallel.example_places(ready.video.shape[0])
  network_key = inputs.step_key(config.train.seed, step, 'network')
  clips = (ready.video, ready.targets, ready.weights, batch['labels'], place_B)
  parts = config.train.accumulate

  def of_part(learned, clips):
    video, targets, weights, labels, place_B = clips
    multi_label = [head for head, x in labels.items() if x.ndim == 2]

    def loss_of(learned):
      logits = model.apply(
        {'params': parameters.replaced(params, learned)},
        video,
        train=True,
        example_B=place_B,
        rngs={'stochastic_depth': network_key},
      )
      loss = losses.cross_entropy(
        logits,
        targets,
        multi_label,
        config.train.head_weights,
        weights,
      )
      return loss, logits

    with_gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, logits), gradient = with_gradient(learned)
    return gradient, {'loss': loss, **losses.accuracies(logits, labels)}

  def of_all(learned):
    if parts == 1:
      return of_part(learned, clips)
    in_parts = jax.tree.map(
      lambda x: einops.rearrange(x, '(part b) ... -> part b ...', part=parts),
      clips,
    )
    one = jax.tree.map(lambda x: x[0], in_parts)
    total = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(of_part, learned, one),
    )

    def add(total, part):
      return jax.tree.map(jnp.add, total, of_part(learned, part)), None

    total, _ = jax.lax.scan(add, total, in_parts)
    return jax.tree.map(lambda x: x / parts, total)

  return lambda learned: parallel.mean_over_devices(of_all(learned))

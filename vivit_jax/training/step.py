"""The training step: augment, forward, loss, mean gradient, update."""

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
from vivit_jax.training import inputs, losses, param_groups


@flax.struct.dataclass
class TrainState:
  """The training state, which a checkpoint stores.

  Attributes:
    step: int32 [], number of steps done, including skipped ones.
    params: parameters of the model.
    opt_state: state of the optimiser, for trainable parameters.
    ema: moving average of `params`; None without `train.ema`.
  """

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  ema: Any = None


def initialise(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> TrainState:
  """Returns the initial state, with random parameters from the seed."""
  video = jnp.zeros((1, config.data.frames, *config.data.crop, 3))
  key = jax.random.key(config.train.seed)
  params = jax.jit(model.init)(key, video)['params']
  state = TrainState(jnp.int32(0), params, optimiser.init(params))
  return with_parameters(state, params, config)


def shapes(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> tuple[TrainState, dict[str, Any]]:
  """Returns the shapes of `train_step`'s arguments, state and batch.

  `train.batch_size` is divided by the number of local devices.
  """
  devices, shape = jax.local_device_count(), jax.ShapeDtypeStruct
  state = jax.eval_shape(lambda: initialise(model, optimiser, config))
  state = jax.tree.map(lambda x: shape((devices, *x.shape), x.dtype), state)
  lead = (devices, config.train.batch_size // devices)
  sides = (config.data.frames, *config.data.crop, 3)
  batch = {
    'video': shape((*lead, *sides), np.uint8),
    'labels': {head: shape(lead, np.int32) for head in config.model.heads},
  }
  if model.reads_frame_numbers:
    batch['frame_numbers'] = shape((*lead, config.data.frames), np.int32)
  if layers := config.augment.randaugment_layers:
    batch['randaugment'] = shape((*lead, layers, 4), np.float32)
  return state, batch


def with_parameters(
  state: TrainState, params: Any, config: TrainConfig
) -> TrainState:
  """Returns an initial state with `params` instead of its own."""
  ema = jax.tree.map(jnp.copy, params) if config.train.ema else None
  return state.replace(params=params, ema=ema)


def evaluation_params(state: TrainState, config: TrainConfig) -> Any:
  """Returns `ema` if it exists and `evaluation.ema` is set, else `params`."""
  use_average = state.ema is not None and config.evaluation.ema
  return state.ema if use_average else state.params


def train_step(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> Callable[
  [TrainState, Mapping[str, Any]], tuple[TrainState, dict[str, jax.Array]]
]:
  """Returns (state, batch) -> (state, metrics), mapped over devices.

  State and metrics have a leading device axis. Metrics are means over the
  global batch. The old state is donated: it cannot be used afterwards.

  A step is skipped if its loss, gradient norm or update norm is not finite.
  Then the metric `skipped` is 1, and only `step` changes: the optimiser's count
  and the learning rate do not advance. `optax.apply_if_finite` does not do: it
  checks the gradient alone, and applies it anyway after several failures.

  Args:
    model: the network.
    optimiser: from `optim.optimiser`.
    config: the experiment.
    class_weights: float32 [K] of each head with weighted classes; the metric
      `loss` is weighted too.

  The returned function takes:
    state: replicated.
    batch: sharded. `video` is uint8 [devices, b, T, H, W, 3]. `labels` of
      each head: int32 [devices, b], or float32 [devices, b, K] if multi-label.
      With RandAugment, `randaugment` is float32 [devices, b, layers, 4]. For
      a model that reads them, `frame_numbers` is int32 [devices, b, T].
  """

  def step(state, batch):
    ready = inputs.preprocess(
      batch, state.step, config, model.heads, class_weights
    )
    return update(state, ready, batch, model, optimiser, config)

  return parallel.map_over_devices(step, donate=(0,))


def update(
  state: TrainState,
  ready: inputs.Inputs,
  batch: Mapping[str, Any],
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Makes a step on preprocessed inputs; returns the state and the metrics.

  `train_step` explains them. Call it inside a function mapped over devices.
  """
  gradient, metrics = gradient_of_step(
    ready, batch, state.step, state.params, model, config
  )
  metrics['gradient_norm'] = optax.tree.norm(gradient)
  mask = param_groups.trainable(state.params, config.optim)
  old = _Trainable(
    param_groups.select(state.params, mask),
    state.opt_state,
    None if state.ema is None else param_groups.select(state.ema, mask),
  )
  updates, opt_state = optimiser.update(gradient, old.opt_state, old.params)
  params = optax.apply_updates(old.params, updates)
  ema = update_ema(old.ema, params, state.step, config.train.ema)
  # A finite gradient times a large learning rate may overflow.
  finite = jnp.isfinite(
    metrics['loss'] + metrics['gradient_norm'] + optax.tree.norm(updates)
  )
  metrics['skipped'] = 1.0 - finite
  new = jax.tree.map(
    lambda new, old: jnp.where(finite, new, old),
    _Trainable(params, opt_state, ema),
    old,
  )
  state = TrainState(
    step=state.step + 1,
    params=param_groups.merge(state.params, new.params),
    opt_state=new.opt_state,
    ema=state.ema and param_groups.merge(state.ema, new.ema),
  )
  return state, metrics


@flax.struct.dataclass
class _Trainable:
  """The part of a state that an update changes; trainable parameters only."""

  params: Any
  opt_state: optax.OptState
  ema: Any


def gradient_of_step(
  ready: inputs.Inputs,
  batch: Mapping[str, Any],
  step: jax.Array,
  params: Any,
  model: nn.Module,
  config: TrainConfig,
) -> tuple[Any, dict[str, jax.Array]]:
  """Returns the gradient of the trainable parameters, and the metrics.

  With `optim.sam_rho`, the gradient is taken at the point from `uphill`. The
  metrics are at `params`. Call it inside a function mapped over devices.

  Args:
    ready: from `inputs.preprocess`.
    batch: a device's part of the batch, see `train_step`; its video is not
      read.
    step: int32 [], number of steps done before.
    params: all parameters.
    model, config: see `train_step`.
  """
  mask = param_groups.trainable(params, config.optim)
  gradient_at = _gradient_function(
    ready, batch, step, params, mask, model, config
  )
  trainable = param_groups.select(params, mask)
  gradient, metrics = gradient_at(trainable)
  if config.optim.sam_rho:
    # The gradient is the mean over devices: all take the same step.
    gradient = gradient_at(uphill(trainable, gradient, config.optim.sam_rho))[0]
  return gradient, metrics


def uphill(params: Any, gradient: Any, distance: float) -> Any:
  """Returns the parameters moved along the gradient by a distance.

  To first order, this is the point of largest loss within the distance. SAM
  uses its gradient (Foret et al., arXiv 2010.01412, equation 2). The gradient's
  norm is taken over all parameters together.
  """
  scale = distance / (optax.tree.norm(gradient) + 1e-12)
  return jax.tree.map(lambda x, g: x + scale * g, params, gradient)


def update_ema(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
  """Returns the updated moving average of parameters; None if `ema` is None.

  The decay at step t, from 0, is min(decay, (1 + t) / (10 + t)). So the average
  forgets the random initialisation early, as TensorFlow's
  ExponentialMovingAverage does with `num_updates`. timm's ModelEmaV3 has a
  similar warm-up. The average of a constant parameter is exact.
  """
  if ema is None:
    return None
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(
    lambda old, new: old + (1.0 - decay) * (new - old), ema, params
  )


def _gradient_function(
  ready: inputs.Inputs,
  batch: Mapping[str, Any],
  step: jax.Array,
  params: Any,
  mask: Any,
  model: nn.Module,
  config: TrainConfig,
) -> Callable[[Any], tuple[Any, dict[str, jax.Array]]]:
  """Returns a function: trainable parameters -> (gradient, metrics).

  Both are means over the global batch. Each device processes its clips in
  `train.accumulate` micro-batches. Random draws depend only on step and example
  index: they are equal for any number of micro-batches, and in SAM's second
  call.
  """
  if frozen := param_groups.frozen_modules(mask, params):
    model = model.clone(frozen=frozen)
  index_B = parallel.example_indices(ready.video.shape[0])
  rngs = {
    'stochastic_depth': inputs.step_key(config.train.seed, step, 'network'),
    'dropout': inputs.step_key(config.train.seed, step, 'dropout'),
  }
  frame_BxT = batch['frame_numbers'] if model.reads_frame_numbers else None
  clips = (
    ready.video,
    ready.targets,
    ready.weights,
    batch['labels'],
    index_B,
    frame_BxT,  # of the clip itself, also with mixup
  )
  parts = config.train.accumulate

  def part_gradient(trainable, clips):
    video, targets, weights, labels, index_B, frame_BxT = clips
    multi_label = [head for head, x in labels.items() if x.ndim == 2]

    def loss_and_logits(trainable):
      logits = model.apply(
        {'params': param_groups.merge(params, trainable)},
        video,
        train=True,
        example_B=index_B,
        frame_BxT=frame_BxT,
        rngs=rngs,
      )
      loss = losses.cross_entropy(
        logits, targets, multi_label, config.train.head_weights, weights
      )
      return loss, logits

    with_gradient = jax.value_and_grad(loss_and_logits, has_aux=True)
    (loss, logits), gradient = with_gradient(trainable)
    return gradient, {'loss': loss, **losses.accuracies(logits, labels)}

  def device_gradient(trainable):
    if parts == 1:
      return part_gradient(trainable, clips)
    split = jax.tree.map(
      lambda x: einops.rearrange(x, '(part b) ... -> part b ...', part=parts),
      clips,
    )
    first = jax.tree.map(lambda x: x[0], split)
    zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(part_gradient, trainable, first),
    )

    def add(total, part):
      return jax.tree.map(jnp.add, total, part_gradient(trainable, part)), None

    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda x: x / parts, total)

  return lambda trainable: parallel.mean_over_devices(
    device_gradient(trainable)
  )

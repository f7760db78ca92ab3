"""One update: augment, forward, loss, mean of gradients, clip, update."""

from collections.abc import Callable, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vivit_jax import parallel
from vivit_jax.config import TrainConfig
from vivit_jax.models import pixels
from vivit_jax.training import augment, losses


@flax.struct.dataclass
class TrainState:
  """What training carries on: all that a checkpoint must hold."""

  step: jax.Array  # int32, updates made
  params: Any
  opt_state: optax.OptState


def initialise(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> TrainState:
  """Returns the state before the first step, random from the seed."""
  video = jnp.zeros((1, config.data.frames, *config.data.crop, 3))
  key = jax.random.key(config.train.seed)
  params = jax.jit(model.init)(key, video)['params']
  return TrainState(jnp.int32(0), params, optimiser.init(params))


def train_step(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: TrainConfig,
) -> Callable[
  [TrainState, Mapping[str, Any]], tuple[TrainState, dict[str, jax.Array]]
]:
  """Returns (state, batch) -> (state, metrics), mapped over devices.

  State and metrics have a leading device axis; the batch is sharded: `video`
  uint8 [devices, b, T, H, W, 3] and `labels` of each head, int32 [devices, b],
  or float32 [devices, b, K] where a video may have several.
  Metrics are means over the global batch. The old state's memory is reused.
  """

  def step(state, batch):
    video, labels = batch['video'], batch['labels']
    place_B = parallel.example_places(video.shape[0])
    keys = jax.random.split(
      jax.random.fold_in(jax.random.key(config.train.seed), state.step), 3
    )
    video = augment.augment(video, keys[0], place_B, config.augment)
    video = pixels.normalise(video, config.data.mean, config.data.std)
    targets = {
      head: losses.smooth_targets(
        labels[head], classes, config.train.label_smoothing
      )
      for head, classes in model.heads.items()
    }
    multi_label = [head for head, x in labels.items() if x.ndim == 2]
    if config.augment.mixup:
      video, targets = augment.mixup(
        video, targets, keys[1], config.augment.mixup
      )

    def loss_of(params):
      logits = model.apply(
        {'params': params},
        video,
        train=True,
        example_B=place_B,
        rngs={'stochastic_depth': keys[2]},
      )
      return losses.cross_entropy(logits, targets, multi_label), logits

    (loss, logits), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      state.params
    )
    metrics = {'loss': loss, **losses.accuracies(logits, labels)}
    gradient, metrics = parallel.mean_over_devices((gradient, metrics))
    metrics['gradient_norm'] = optax.tree.norm(gradient)
    updates, opt_state = optimiser.update(
      gradient, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), metrics

  return parallel.map_over_devices(step, donate=(0,))

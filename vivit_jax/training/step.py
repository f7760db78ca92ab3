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
from vivit_jax.training import inputs, losses


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
  uint8 [devices, b, T, H, W, 3], `labels` of each head, int32 [devices, b], or
  float32 [devices, b, K] where a video may have several, and with RandAugment
  `randaugment`, float32 [devices, b, layers, 4].
  Metrics are means over the global batch. The old state's memory is reused.
  """

  def step(state, batch):
    ready = inputs.prepare(batch, state.step, config, model.heads)
    place_B = parallel.example_places(ready.video.shape[0])
    network_key = inputs.step_keys(config.train.seed, state.step)[2]
    multi_label = [h for h, x in batch['labels'].items() if x.ndim == 2]

    def loss_of(params):
      logits = model.apply(
        {'params': params},
        ready.video,
        train=True,
        example_B=place_B,
        rngs={'stochastic_depth': network_key},
      )
      return losses.cross_entropy(logits, ready.targets, multi_label), logits

    (loss, logits), gradient = jax.value_and_grad(loss_of, has_aux=True)(
      state.params
    )
    metrics = {'loss': loss, **losses.accuracies(logits, batch['labels'])}
    gradient, metrics = parallel.mean_over_devices((gradient, metrics))
    metrics['gradient_norm'] = optax.tree.norm(gradient)
    updates, opt_state = optimiser.update(
      gradient, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), metrics

  return parallel.map_over_devices(step, donate=(0,))

"""Augmentation and targets of a training batch, on the devices."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import parallel
from vivit_jax.augment import device, draws, mixing
from vivit_jax.config import TrainConfig
from vivit_jax.models import pixels
from vivit_jax.training import losses

_ARRAYS = ('video', 'tokens', 'frame_numbers', 'labels', 'randaugment')


@flax.struct.dataclass
class Inputs:
  """Augmented clips with their targets.

  Attributes:
    video: float32 [B, T, H, W, 3], normalised.
    targets: distributions over classes, float32 [B, K] of each head.
    share: float32 [], mixing weight of each example; that of the next example
      in the global batch is 1 - share. 1 without mixup or cutmix.
    weights: loss weight of each example, float32 [B] of each weighted head.
  """

  video: jax.Array
  targets: dict[str, jax.Array]
  share: jax.Array
  weights: dict[str, jax.Array]


def arrays(batch: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the arrays of a batch from `pipeline` that the devices need."""
  return {key: batch[key] for key in _ARRAYS if key in batch}


def step_key(seed: int, step: jax.Array, name: draws.Name) -> jax.Array:
  """Returns a step's random key for a purpose, such as 'network'."""
  key = jax.random.fold_in(jax.random.key(seed), step)
  return draws.key_for(key, name)


def preprocess(
  batch: Mapping[str, Any],
  step: jax.Array,
  config: TrainConfig,
  heads: Mapping[str, int],
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> Inputs:
  """Augments, normalises, erases and mixes a batch, in this order.

  Called inside a function mapped over devices.

  Args:
    batch: `video` uint8 [B, T, H, W, 3]; `labels` of each head, int32 [B], or
      float32 [B, K] of a multi-label head; with RandAugment `randaugment`,
      float32 [B, layers, 4].
    step: int32 [], number of steps made before.
    config: the experiment.
    heads: number of classes of each head.
    class_weights: float32 [K] of each head with weighted classes. The weights
      of two mixed examples are mixed too.
  """
  video, labels = batch['video'], batch['labels']
  index_B = parallel.example_indices(video.shape[0])
  augment_key = step_key(config.train.seed, step, 'augment')
  video = device.augment(
    video, augment_key, index_B, config.augment, batch.get('randaugment')
  )
  video = pixels.normalise(video, *config.data.pixels)
  if config.augment.erasing:
    video = device.randomly_erase(video, augment_key, index_B, config.augment)
  ready = unmixed(video, labels, config, heads, class_weights)
  targets, share, weights = ready.targets, ready.share, ready.weights
  if config.augment.mixup or config.augment.cutmix:
    mix_key = step_key(config.train.seed, step, 'mix')
    video, (targets, weights), share = mixing.mix(
      video, (targets, weights), mix_key, config.augment
    )
  return Inputs(video, targets, share, weights)


def unmixed(
  video: jax.Array,
  labels: Mapping[str, jax.Array],
  config: TrainConfig,
  heads: Mapping[str, int],
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> Inputs:
  """Returns a model's input, of any kind, with the targets of its labels."""
  targets = {
    head: losses.smooth_targets(
      labels[head], classes, config.train.label_smoothing
    )
    for head, classes in heads.items()
  }
  weights = {
    head: jnp.asarray(weights_K)[labels[head]]
    for head, weights_K in (class_weights or {}).items()
  }
  return Inputs(video, targets, jnp.float32(1.0), weights)

"""What a run trains, made and checked before its workdir is touched."""

import dataclasses
import fractions
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
import optax

from vivit_jax import config as configs
from vivit_jax import distributed, models, peers
from vivit_jax.checkpoints import load
from vivit_jax.checkpoints.metadata import Description, has_checkpoints
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, prepare
from vivit_jax.errors import UserError
from vivit_jax.training import checks, losses, optim, step, validation


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What a run trains.

  Attributes:
    config: with the dataset's heads.
    source: the videos to train on.
    model: the network.
    optimiser: its learning rate is `rate`.
    rate: updates made before -> the learning rate.
    steps: of the whole training.
    validation_period: steps from one validation to the next; None for never.
    validate: parameters -> scores, of `validation.scorer`; None for never.
    class_weights: float32 [K] of heads whose examples are weighted by class.
    about: what a checkpoint says of the run.
  """

  config: TrainConfig
  source: datasets.VideoSplit
  model: nn.Module
  optimiser: optax.GradientTransformation
  rate: optax.Schedule
  steps: int
  validation_period: fractions.Fraction | None
  validate: Callable[[Any], dict[str, float] | None] | None
  class_weights: Mapping[str, np.ndarray]
  about: Description


def plan(
  config: TrainConfig, folder: str | os.PathLike
) -> tuple[Experiment, step.TrainState]:
  """Returns what a run trains, and its state where no checkpoint is.

  That state has the weights of `init_from`, else random parameters from the
  seed. The embedded dataset is written if it is absent; the workdir stays as it
  is.

  Raises:
    UserError: a config that does not fit the dataset, devices or workdir.
  """
  checks.check_same(config)
  checks.check_before_data(config, folder)
  _ensure_data(config)
  source = checks.open_split(config, config.data.train_split)
  peers.check_same('dataset', {'its content': source.content})
  config = configs.resolve_heads(config, source.label_names)
  checks.check_with_data(config, source)
  weights = class_weights(config, source)
  model = models.build(config.model)
  period = validation.period(config, len(source))
  validate = None if period is None else validation.scorer(model, config)
  about = Description(
    config,
    source.label_names,
    source.content,
    multi_label=sorted(source.multi_label),
  )
  per_epoch = len(source) / configs.videos_per_step(config)
  steps = configs.training_steps(config, len(source))
  rate = optim.schedule(config.optim, steps=steps, steps_per_epoch=per_epoch)
  optimiser = optim.optimiser(config.optim, rate, config.model)
  state = step.initialise(model, optimiser, config)
  checks.check_parameters(state.params, config)
  if config.init_from is not None and not has_checkpoints(folder):
    params = load.initialise(state.params, config, source.label_names)
    state = step.with_parameters(state, params, config)
  checks.check_resumed(folder, about)
  made = Experiment(
    config=config,
    source=source,
    model=model,
    optimiser=optimiser,
    rate=rate,
    steps=steps,
    validation_period=period,
    validate=validate,
    class_weights=weights,
    about=about,
  )
  return made, state


def class_weights(
  config: TrainConfig, source: datasets.VideoSplit
) -> dict[str, np.ndarray]:
  """Returns `train.class_weights` of the heads that have one label a video.

  Args:
    config: with its heads.
    source: the videos to train on, whose classes are counted.

  Raises:
    UserError: there is no such head.
  """
  rule, beta = config.train.class_weights, config.train.class_weights_beta
  if rule is None:
    return {}
  heads = [h for h in config.model.heads if h not in source.multi_label]
  if not heads:
    raise UserError(
      f"train.class_weights is '{rule}', but {config.data.dataset} has no head "
      'with one label a video: leave it out.'
    )
  return {
    head: losses.class_weights(
      np.bincount(source.labels[head], minlength=config.model.heads[head]),
      rule,
      beta,
    )
    for head in heads
  }


def _ensure_data(config: TrainConfig) -> None:
  """Writes the embedded dataset if it is absent, or waits for process 0's."""
  if distributed.first():
    prepare.ensure_embedded(config.data.dataset, config.data.data_dir)
  elif config.data.dataset == 'moving_shapes':
    where = config.data.dataset, config.data.data_dir
    distributed.wait_for(lambda: datasets.find(*where) is not None)

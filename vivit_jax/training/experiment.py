"""Builds and checks what a run trains, before its workdir is touched."""

import dataclasses
import fractions
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from vivit_jax import config as configs
from vivit_jax import distributed, models
from vivit_jax.checkpoints import load, workdir
from vivit_jax.checkpoints.metadata import Description, has_checkpoints
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline, prepare
from vivit_jax.errors import UserError
from vivit_jax.training import (
  checks,
  divergence,
  losses,
  model_stats,
  optim,
  step,
  validation,
)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that a run trains with.

  Attributes:
    config: the resolved config, with the dataset's heads.
    source: the training videos.
    model: the network.
    optimiser: uses the learning rates of `schedule`.
    schedule: number of updates made -> learning rate.
    steps: number of steps of the whole training.
    validation_period: steps between validations; None without validation.
    validation_source: the validation videos; None without validation.
    validate: parameters -> scores, see `validation.scorer`; None without
      validation.
    class_weights: float32 [K] of each head with weighted classes.
    description: metadata that each checkpoint stores.
    fixed: replicated arrays that each step reads beside its batch.
  """

  config: TrainConfig
  source: datasets.VideoSplit
  model: nn.Module
  optimiser: optax.GradientTransformation
  schedule: optax.Schedule
  steps: int
  validation_period: fractions.Fraction | None
  validation_source: datasets.VideoSplit | None
  validate: Callable[[Any], dict[str, float] | None] | None
  class_weights: Mapping[str, np.ndarray]
  description: Description
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def forward_operations(self) -> int:
    """FLOPs of a third of a training step on one clip."""
    return model_stats.forward_operations(self.config)

  def update(self) -> Callable[..., Any]:
    """Returns the training step, see `step.train_step`."""
    return step.train_step(
      self.model, self.optimiser, self.config, self.class_weights
    )

  def batches(self, first_step: int) -> Iterator[Mapping[str, Any]]:
    """Returns the training batches, from a step on."""
    return pipeline.train_batches(
      self.source,
      self.config.data,
      augment=self.config.augment,
      seed=self.config.train.seed,
      batch_size=self.config.train.batch_size,
      first_step=first_step,
      process=jax.process_index(),
      processes=jax.process_count(),
    )

  def gradient_norms(self, state: Any, batch: Any) -> dict[str, float]:
    """Returns the loss and gradient norms of a step that was skipped."""
    return divergence.gradient_norms(
      state, batch, self.model, self.config, self.class_weights
    )

  def remark(self, scores: Mapping[str, float]) -> str:
    """Returns what the line of a validation says besides its scores."""
    del scores
    return ''


def build_experiment(
  config: TrainConfig, folder: str | os.PathLike
) -> tuple[Experiment, step.TrainState]:
  """Returns the experiment and its initial state.

  The parameters come from `init_from`, else are random from the seed. The
  embedded dataset is written if it is missing; the workdir, which need not
  exist, is not touched.

  Raises:
    UserError: a config that does not fit the dataset, devices or workdir.
  """
  config, source = open_data(config, folder)
  weights = class_weights(config, source)
  model = models.build(config.model)
  period = validation.period(config, len(source))
  validation_source, validate = None, None
  if period is not None:
    validation_source = checks.open_validation(config)
    validate = validation.scorer(model, config, validation_source)
  description = Description(
    config,
    source.label_names,
    source.content,
    multi_label=sorted(source.multi_label),
  )
  schedule = schedule_of(config, len(source))
  optimiser = optim.optimiser(config.optim, schedule, config.model)
  state = step.initialise(model, optimiser, config)
  if config.init_from is not None and not has_checkpoints(folder):
    params = load.initialise(state.params, config, source.label_names)
    state = step.with_parameters(state, params, config)
  checks.check_resumed(folder, description)
  experiment = Experiment(
    config=config,
    source=source,
    model=model,
    optimiser=optimiser,
    schedule=schedule,
    steps=configs.training_steps(config, len(source)),
    validation_period=period,
    validation_source=validation_source,
    validate=validate,
    class_weights=weights,
    description=description,
  )
  return experiment, state


def open_data(
  config: TrainConfig, folder: str | os.PathLike
) -> tuple[TrainConfig, datasets.VideoSplit]:
  """Checks a config, and returns it with its heads, and the training videos.

  The embedded dataset is written if it is missing.

  Raises:
    UserError: as `build_experiment`.
  """
  checks.check_same(config)
  checks.check_alone(config, folder)
  configs.check_devices(config, jax.device_count())
  workdir.check(folder, config)
  _ensure_data(config)
  data = config.data
  checks.check_splits(config, validation.period(config, 1) is not None)
  source = datasets.open_split(data.dataset, data.data_dir, data.train_split)
  distributed.check_same('the dataset', {'its content': source.content})
  config = configs.resolve_heads(config, source.label_names)
  checks.check_with_data(config, source)
  return config, source


def schedule_of(config: TrainConfig, videos: int) -> optax.Schedule:
  """Returns the learning rate's schedule, of so many training videos."""
  return optim.schedule(
    config.optim,
    steps=configs.training_steps(config, videos),
    steps_per_epoch=videos / configs.videos_per_step(config),
  )


def class_weights(
  config: TrainConfig, source: datasets.VideoSplit
) -> dict[str, np.ndarray]:
  """Returns the class weights of each single-label head, float32 [K].

  The classes of the training videos are counted. Empty without
  `train.class_weights`.

  Raises:
    UserError: there is no single-label head.
  """
  rule, beta = config.train.class_weights, config.train.class_weights_beta
  if rule is None:
    return {}
  heads = [h for h in config.model.heads if h not in source.multi_label]
  if not heads:
    raise UserError(
      f"train.class_weights is '{rule}', but {config.data.dataset} has no head "
      'with one label per video: remove the key.'
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
  """Writes the embedded dataset if it is missing, or waits for process 0."""
  dataset, data_dir = config.data.dataset, config.data.data_dir
  if distributed.first():
    prepare.ensure_embedded(dataset, data_dir)
  elif dataset == 'moving_shapes':
    while datasets.find(dataset, data_dir) is None:  # a collective may time out
      time.sleep(1)

"""Validation during training: how often, and its scores."""

import fractions
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from vivit_jax import config as configs
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline
from vivit_jax.errors import UserError
from vivit_jax.evaluation import (
  forward,
  metrics,
  predict_split,
)
from vivit_jax.evaluation.predictions import Predictions

_DEFAULT_PERIOD = 1000  # steps


def period(config: TrainConfig, videos: int) -> fractions.Fraction | None:
  """Returns the exact number of steps between validations; None for never.

  A period in epochs may be a fractional number of steps. Validation then
  follows the step that completes the period. `videos` is the number of
  training videos.
  """
  train = config.train
  if train.validate_epochs:
    epochs = fractions.Fraction(str(train.validate_epochs))  # 0.1 is 1 / 10
    return epochs * videos / configs.videos_per_step(config)
  every = train.validate_every
  every = _DEFAULT_PERIOD if every is None else every
  return fractions.Fraction(every) if every else None


def scorer(
  model: nn.Module, config: TrainConfig, source: datasets.VideoSplit
) -> Callable[[Any], dict[str, float] | None]:
  """Returns a function: parameters -> scores of the validation split.

  Each video of `source` is scored by one view. If that fails, the function
  prints the reason and returns None, and training continues.
  """
  apply = forward.every_view(model, config.data)

  def validate(params) -> dict[str, float] | None:
    try:
      predictions = predict(
        batches(config, source), lambda batch: apply(params, batch), source
      )
    except UserError as error:
      print(f'\nvalidation is skipped: {error}', flush=True)
      return None
    return scores(predictions, 0, config)

  return validate


def batches(
  config: TrainConfig,
  source: datasets.VideoSplit,
  videos: Sequence[int] | None = None,
) -> Iterable[Mapping[str, Any]]:
  """Returns batches of one view of each video, or of some of them."""
  return pipeline.evaluation_batches(
    source,
    config.data,
    temporal_views=1,
    spatial_crops=1,
    views_from=config.evaluation.views_from,
    batch_size=forward.padded_batch(config.train.batch_size),
    videos=videos,
    process=jax.process_index(),
    processes=jax.process_count(),
  )


def predict(
  batches: Iterable[Mapping[str, Any]],
  forward: Callable[[Mapping[str, Any]], Mapping[str, Any]],
  source: datasets.VideoSplit,
) -> Predictions:
  """Predicts the validation videos.

  Args:
    batches: of the videos.
    forward: maps a batch to logits [b, V, K] of each head.
    source: the videos.

  Raises:
    UserError: no video can be read.
  """
  predictions = predict_split.predict_split(batches, forward, len(source))
  if len(predictions.unreadable):
    first = source.ids[predictions.unreadable[0]]
    print(
      f'\n{len(predictions.unreadable)} of {len(source)} validation videos '
      f"cannot be read and are left out (first: '{first}')"
    )
  return predictions


def scores(
  predictions: Predictions, view: int, config: TrainConfig
) -> dict[str, float]:
  """Returns the scores and losses of one of the V columns of logits."""
  logits = {head: x[:, view] for head, x in predictions.logits.items()}
  losses = metrics.cross_entropies(
    logits, predictions.labels, config.train.head_weights
  )
  return metrics.scores(logits, predictions.labels) | losses

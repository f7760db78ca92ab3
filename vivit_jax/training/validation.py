"""Scores of the validation split during training, and when they are due."""

import fractions
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from vivit_jax import config as configs
from vivit_jax.config import TrainConfig
from vivit_jax.data import pipeline
from vivit_jax.errors import UserError
from vivit_jax.evaluation import (
  cross_entropies,
  forward,
  metrics,
  predict_split,
)
from vivit_jax.training import checks

_PERIOD = 1000  # steps, where a config does not say


def period(config: TrainConfig, videos: int) -> fractions.Fraction | None:
  """Returns how many steps there are from one validation to the next.

  Exactly, and maybe no whole number: by epochs, validation follows the steps
  that complete them. None for never.

  Args:
    config: the experiment.
    videos: of the split to train on.
  """
  run = config.train
  if run.validate_epochs:
    epochs = fractions.Fraction(str(run.validate_epochs))  # 0.1 is a tenth
    return epochs * videos / configs.videos_per_step(config)
  every = _PERIOD if run.validate_every is None else run.validate_every
  return fractions.Fraction(every) if every else None


def scorer(
  model: nn.Module, config: TrainConfig
) -> Callable[[Any], dict[str, float] | None]:
  """Returns parameters -> scores of the validation split, one view each.

  None, with a sentence, where it cannot be scored: training goes on.

  Raises:
    UserError: no such split, or videos that are shorter than a clip.
  """
  source = checks.open_validation(config)
  apply = forward.every_view(model, config.data)

  def validate(params) -> dict[str, float] | None:
    try:
      return score(params)
    except UserError as error:
      print(f'\nvalidation is left out: {error}', flush=True)
      return None

  def score(params) -> dict[str, float]:
    batches = pipeline.evaluation_batches(
      source,
      config.data,
      temporal_views=1,
      spatial_crops=1,
      batch_size=forward.padded_batch(config.train.batch_size),
      process=jax.process_index(),
      processes=jax.process_count(),
    )
    predictions = predict_split.predict_split(
      batches, lambda video: apply(params, video), len(source)
    )
    if len(predictions.unreadable):
      first = source.ids[predictions.unreadable[0]]
      print(
        f'\n{len(predictions.unreadable)} of {len(source)} videos of '
        f"validation cannot be read, and count nowhere ('{first}' is the first)"
      )
    logits = {head: x[:, 0] for head, x in predictions.logits.items()}
    losses = cross_entropies.cross_entropies(
      logits, predictions.labels, config.train.head_weights
    )
    return metrics.scores(logits, predictions.labels) | losses

  return validate

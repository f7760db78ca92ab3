"""Checks of config values that depend on each other.

Types, choices and limits of single keys are declared in `config`.
"""

from __future__ import annotations

import itertools
import re
import typing

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig

if typing.TYPE_CHECKING:
  from vivit_jax.config import (
    AugmentConfig,
    DataConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
  )

_METRIC = r'top1|loss|joint/top1|[\w-]+/(top[15]|mAP|loss)'


def check(config: TrainConfig) -> None:
  """Raises a UserError for invalid values and invalid combinations."""
  typed.check(config)
  _check_model(config.model)
  family = families.get(config.model.family)
  data, clips = config.data, config.model.clips
  require(
    data.clips == clips,
    f'data.clips is {data.clips}, but model.clips is {clips}: set both to the '
    'same.',
  )
  require(
    data.frames % clips == 0,
    f'data.frames is {data.frames}; data.clips requires a multiple of {clips}.',
  )
  family.check_clip(config.model.options, data.frames // clips, data.crop)
  _check_data(config.data)
  _check_optim(config.optim)
  _check_run(config.train)
  _check_randaugment(config.augment)
  run, repeats = config.train, config.augment.repeats
  require(
    run.batch_size % repeats == 0,
    f'train.batch_size is {run.batch_size}; make it a multiple of '
    f'augment.repeats, {repeats}.',
  )
  require(
    run.class_weights is None or config.data.balanced is None,
    f"data.balanced is '{config.data.balanced}' and train.class_weights "
    f"'{run.class_weights}': both compensate for rare classes; set only one.",
  )


def require(condition: bool, message: str) -> None:
  """Raises a UserError with the message unless the condition holds."""
  if not condition:
    raise UserError(message)


def _check_model(model: ModelConfig) -> None:
  require(
    0 <= model.stochastic_depth < 1,
    f'model.stochastic_depth is {model.stochastic_depth}; it must be at least '
    '0 and below 1.',
  )
  require(
    model.representation is None or model.representation > 0,
    f'model.representation is {model.representation}; it must be above 0.',
  )
  for name, classes in model.heads.items():
    require(
      classes >= 2, f'model.heads.{name} is {classes}; it must be at least 2.'
    )


def _check_data(data: DataConfig) -> None:
  require(
    not data.is_spread or data.frames_per_second is None,
    f"data.sampling is '{data.sampling}', which spreads the frames over the "
    f'whole video, so data.frames_per_second, {data.frames_per_second}, has no '
    'meaning: set it to None.',
  )
  _check_crop_area(data)
  low, high = data.scale_jitter
  require(
    0 < low <= high,
    f'data.scale_jitter is {data.scale_jitter}; it takes the lowest and the '
    'highest scale, above 0.',
  )
  # Only the shorter side: a wide crop fits a wide video.
  smallest = data.short_side * min(low, 1.0)
  require(
    min(data.crop) <= smallest,
    f'data.crop is {data.crop}; its shorter side must be at most '
    f'{smallest:g}, data.short_side x data.scale_jitter.',
  )


def _check_crop_area(data: DataConfig) -> None:
  default = type(data)()
  for key in ('crop_area', 'crop_aspect'):
    limits = getattr(data, key)
    require(
      limits is None or limits[0] <= limits[1],
      f'data.{key} is {limits}; it takes the lowest and the highest value.',
    )
  for key in ('scale_jitter', 'scale_jitter_uniform'):
    value, unset = getattr(data, key), getattr(default, key)
    require(
      data.crop_area is None or value == unset,
      f'data.{key} is {value}, but data.crop_area, {data.crop_area}, replaces '
      f'it: set it to {unset}, or crop_area to None.',
    )
  require(
    data.crop_area is not None or data.crop_aspect == default.crop_aspect,
    f'data.crop_aspect is {data.crop_aspect}, but data.crop_area is None: set '
    'crop_area too, such as (0.08, 1.0).',
  )


def _check_randaugment(augment: AugmentConfig) -> None:
  magnitude, deviation = (
    augment.randaugment_magnitude,
    augment.randaugment_deviation,
  )
  if augment.randaugment_scale == 'timm':
    require(
      magnitude <= 10,
      f"augment.randaugment_magnitude is {magnitude:g}; timm's scale ends at "
      '10.',
    )
  else:
    require(
      not deviation,
      f'augment.randaugment_deviation is {deviation:g}, which '
      f"randaugment_scale '{augment.randaugment_scale}' does not have: set it "
      "to 0, or the scale to 'timm'.",
    )


def _check_optim(optim: OptimConfig) -> None:
  require(
    optim.schedule == 'step' or not optim.decay_at,
    f'optim.decay_at is {optim.decay_at}, but optim.schedule is '
    f"'{optim.schedule}': set it to 'step', or decay_at to ().",
  )
  require(
    all(a < b for a, b in itertools.pairwise(optim.decay_at)),
    f'optim.decay_at is {optim.decay_at}; each epoch must be later than the '
    'one before.',
  )
  for key in ('freeze', 'train'):
    pattern = getattr(optim, key)
    try:
      re.compile(pattern or '')
    except re.error as error:
      raise UserError(
        f"optim.{key} is '{pattern}', which is not a regular expression "
        f"({error}). An example: '^embedding/'."
      ) from None


def _check_run(run: RunConfig) -> None:
  require(
    run.batch_size % run.accumulate == 0,
    f'train.batch_size is {run.batch_size}; make it a multiple of '
    f'train.accumulate, {run.accumulate}.',
  )
  require(
    not (run.validate_every and run.validate_epochs),
    f'train.validate_every is {run.validate_every} and train.validate_epochs '
    f'is {run.validate_epochs:g}: set one of them to 0.',
  )
  require(
    re.fullmatch(_METRIC, run.best_metric) is not None,
    f"train.best_metric is '{run.best_metric}'; it takes top1, loss, "
    'joint/top1, HEAD/top1, HEAD/top5, HEAD/mAP or HEAD/loss.',
  )
  for head, weight in run.head_weights.items():
    require(
      weight >= 0,
      f'train.head_weights.{head} is {weight}; it must be at least 0.',
    )

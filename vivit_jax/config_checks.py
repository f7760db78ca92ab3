"""What must hold of an experiment's values, each and together.

The keys and their meanings are in `config`, which calls `check`.
"""

from __future__ import annotations

import re
import typing
from typing import Any

from vivit_jax.errors import UserError
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig

if typing.TYPE_CHECKING:
  from vivit_jax.config import OptimConfig, TrainConfig


def check(config: TrainConfig) -> None:
  """Raises a UserError where values do not fit each other."""
  _check_numbers(config)
  _check_model(config.model)
  _check_clip(config)
  _check_augment(config)
  _check_optim(config.optim)
  require(
    min(config.init_grid or (1,)) >= 1,
    f'init_grid is {config.init_grid}; each side is at least 1.',
  )
  _one_of('init_kernel', config.init_kernel, ('central_frame', 'inflation'))


def require(holds: bool, message: str) -> None:
  """Raises a UserError with the message, unless something holds."""
  if not holds:
    raise UserError(message)


def _one_of(key: str, value: Any, known: tuple) -> None:
  names = ', '.join(str(name) for name in known)
  require(value in known, f'{key} is {value!r}; it takes one of {names}.')


def _check_model(model: ModelConfig) -> None:
  for name, classes in model.heads.items():
    require(
      classes >= 2, f'model.heads.{name} is {classes}; at least 2 classes.'
    )


def _check_clip(config: TrainConfig) -> None:
  data = config.data
  require(data.frames > 0, f'data.frames is {data.frames}; above 0.')
  require(min(data.crop) > 0, f'data.crop is {data.crop}; each side above 0.')
  family = families.get(config.model.family)
  family.check_clip(config.model.options, data.frames, data.crop)
  low, high = data.scale_jitter
  require(
    0 < low <= high,
    f'data.scale_jitter is {data.scale_jitter}; lowest, then highest scale.',
  )
  # The longer side of a crop may be the longer side of a video.
  require(
    min(data.crop) <= data.short_side * min(low, 1.0),
    f'data.crop is {data.crop}, larger than data.short_side '
    f'{data.short_side} x {min(low, 1.0)} of data.scale_jitter: videos are '
    'resized to that before the crop.',
  )
  _one_of('data.short_videos', data.short_videos, ('refuse', 'loop', 'hold'))
  require(min(data.std) > 0, f'data.std is {data.std}; each value is above 0.')


def _check_augment(config: TrainConfig) -> None:
  augment, batch = config.augment, config.train.batch_size
  _one_of(
    'augment.randaugment_operations',
    augment.randaugment_operations,
    ('all', 'colour'),
  )
  _one_of('augment.erasing_fill', augment.erasing_fill, ('noise', 'mean'))
  require(
    batch % augment.repeats == 0,
    f'train.batch_size is {batch}, which augment.repeats cuts in runs of '
    f'{augment.repeats} clips: make it a multiple.',
  )


def _check_optim(optim: OptimConfig) -> None:
  _one_of(
    'optim.name', optim.name, ('sgd', 'adamw', 'adam', 'lamb', 'lars', 'lion')
  )
  _one_of(
    'optim.schedule',
    optim.schedule,
    ('cosine', 'linear', 'polynomial', 'step', 'constant'),
  )
  for key in ('freeze', 'train'):
    pattern = getattr(optim, key)
    try:
      re.compile(pattern or '')
    except re.error as error:
      raise UserError(
        f"optim.{key} is '{pattern}', no regular expression ({error}): write "
        "one that is found in names of parameters, e.g. '^embedding/'."
      ) from None


# How a range is said, what holds of its numbers, and their keys.
_RANGES = {
  'at least 0': (
    lambda value: value >= 0,
    (
      'data.workers',
      'augment.randaugment_layers',
      'augment.mixup',
      'augment.cutmix',
      'optim.learning_rate',
      'optim.warmup_epochs',
      'optim.warmup_steps',
      'optim.weight_decay',
      'optim.sam_rho',
      'train.seed',
      'train.validate_every',
      'train.validate_epochs',
      'train.profile_first',
    ),
  ),
  'above 0': (
    lambda value: value > 0,
    (
      'model.representation',
      'data.stride',
      'data.frames_per_second',
      'data.short_side',
      'augment.repeats',
      'optim.power',
      'optim.decay_epochs',
      'optim.clip_norm',
      'optim.epsilon',
      'train.batch_size',
      'train.accumulate',
      'train.epochs',
      'train.max_skipped',
      'train.log_every',
      'train.profile_steps',
      'train.checkpoint_every',
      'train.keep_checkpoints',
      'evaluation.batch_size',
      'evaluation.temporal_views',
    ),
  ),
  'at least 0 and below 1': (
    lambda value: 0 <= value < 1,
    (
      'model.stochastic_depth',
      'optim.momentum',
      'optim.b1',
      'optim.b2',
      'train.label_smoothing',
      'train.class_weights_beta',
      'train.ema',
    ),
  ),
  'a probability': (
    lambda value: 0 <= value <= 1,
    (
      'data.max_unreadable',
      'augment.flip',
      'augment.colour_jitter',
      'augment.colour_drop',
      'augment.erasing',
      'augment.cutmix_probability',
    ),
  ),
  'from 0 to 1': (
    lambda value: 0 <= value <= 1,
    ('optim.final_rate',),
  ),
  'above 0 and at most 1': (
    lambda value: 0 < value <= 1,
    ('optim.decay_factor', 'optim.layer_decay'),
  ),
  'from 0 to 30': (
    lambda value: 0 <= value <= 30,
    ('augment.randaugment_magnitude',),
  ),
}
_MOST_EPOCHS = 1e6
_MOST_WORKERS = 1024
_METRIC = r'top1|loss|joint/top1|[\w-]+/(top[15]|mAP|loss)'


def _check_numbers(config: TrainConfig) -> None:
  for words, (holds, names) in _RANGES.items():
    for name in names:
      section, key = name.split('.')
      value = getattr(getattr(config, section), key)
      require(value is None or holds(value), f'{name} is {value}; {words}.')
  run = config.train
  require(
    run.batch_size % run.accumulate == 0,
    f'train.batch_size is {run.batch_size}, which train.accumulate cuts in '
    f'{run.accumulate} parts: make it a multiple.',
  )
  _one_of('evaluation.spatial_crops', config.evaluation.spatial_crops, (1, 3))
  _one_of(
    'evaluation.average', config.evaluation.average, ('logits', 'probabilities')
  )
  require(
    run.epochs <= _MOST_EPOCHS,
    f'train.epochs is {run.epochs:g}; at most {_MOST_EPOCHS:g}.',
  )
  require(
    config.data.workers <= _MOST_WORKERS,
    f'data.workers is {config.data.workers}; at most {_MOST_WORKERS}.',
  )
  require(
    run.seed < 2**32, f'train.seed is {run.seed}; it is below 2 to the 32.'
  )
  require(
    not (run.validate_every and run.validate_epochs),
    f'train.validate_every is {run.validate_every} and train.validate_epochs '
    f'{run.validate_epochs:g}; validation is by steps or by epochs: make one '
    'of them 0.',
  )
  require(
    re.fullmatch(_METRIC, run.best_metric) is not None,
    f"train.best_metric is '{run.best_metric}'; it is top1, the mean over "
    'heads, loss, joint/top1, or of one head HEAD/top1, HEAD/top5, HEAD/mAP or '
    'HEAD/loss.',
  )
  _one_of(
    'train.class_weights',
    run.class_weights,
    (None, 'inverse', 'inverse_sqrt', 'effective'),
  )
  require(
    run.class_weights is None or config.data.balanced is None,
    f"data.balanced is '{config.data.balanced}' and train.class_weights "
    f"'{run.class_weights}': both make up for rare classes; leave one out.",
  )
  for head, weight in run.head_weights.items():
    require(weight >= 0, f'train.head_weights.{head} is {weight}; at least 0.')
  for name, split in (
    ('data.train_split', config.data.train_split),
    ('train.validation_split', run.validation_split),
    ('evaluation.split', config.evaluation.split),
  ):
    require(bool(split), f'{name} is empty; it takes the name of a split.')

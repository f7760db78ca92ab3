"""Every key of an experiment: its type, default, meaning and checks.

A file in `configs/` returns `default(family)` with its own differences, as an
ml_collections ConfigDict; `resolve` turns that, once, into the frozen
`TrainConfig` that the rest of the package reads. Nothing else sees a
ConfigDict. The keys of the section `model` are in `models/family.py`, those of
`model.options` in the family's own file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

from vivit_jax import typed
from vivit_jax.config_checks import check as check
from vivit_jax.config_checks import require
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig

if typing.TYPE_CHECKING:
  import ml_collections


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which records are read, and which clips are cut from them."""

  dataset: str = 'videos'  # a TFDS name, or name/config
  data_dir: str = 'data'  # where `vivit_jax.data.prepare` wrote the records
  train_split: str = 'train'
  frames: int = 32  # of a clip
  stride: int = 2  # every stride-th frame of the video
  frames_per_second: float | None = None  # of a clip, instead of the stride
  crop: tuple[int, int] = (224, 224)  # height, width of what the model sees
  short_side: int = 256  # videos are resized to it before a crop is cut
  scale_jitter: tuple[float, float] = (1.0, 1.0)  # of short_side, in training
  short_videos: str = 'refuse'  # shorter than a clip; or 'loop', played again,
  # or 'hold', their last frame repeated
  balanced: str | None = None  # a head whose classes are drawn equally often
  max_unreadable: float = 0.01  # share of the videos that training may skip
  workers: int = 2  # processes that decode; 0: in the main process
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of pixels in [0, 1]
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Training's random changes of clips: docs/augmentation.md shows each."""

  flip: float = 0.5  # probability of a left-right flip
  randaugment_layers: int = 0  # operations on a clip; 0: off
  randaugment_magnitude: float = 10.0  # of them all, on TensorFlow's scale
  randaugment_operations: str = 'all'  # or 'colour', the reference's
  colour_jitter: float = 0.0  # probability, of the reference's strengths
  colour_drop: float = 0.0  # probability of grey
  erasing: float = 0.0  # probability of a box without picture
  erasing_fill: str = 'noise'  # in that box; or 'mean', data.mean
  mixup: float = 0.0  # alpha of the Beta distribution; 0: off
  cutmix: float = 0.0  # alpha of the Beta distribution; 0: off
  cutmix_probability: float = 0.5  # of a batch, if mixup is on too
  repeats: int = 1  # clips of each video in a batch


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimiser and its schedule (paper, section 4.1: SGD, cosine)."""

  name: str = 'sgd'  # or 'adamw', 'adam', 'lamb', 'lars', 'lion'
  learning_rate: float = 0.1  # at the end of the warm-up
  warmup_epochs: float = 2.5  # linear from 0
  warmup_steps: int | None = None  # instead of warmup_epochs
  schedule: str = 'cosine'  # after it; or 'linear', 'polynomial', 'step',
  # 'constant'
  final_rate: float = 0.0  # share of learning_rate at their end; not of step
  power: float = 2.0  # of polynomial
  decay_epochs: float = 10.0  # of step: after each so many epochs the rate is
  decay_factor: float = 0.1  # multiplied with this
  momentum: float = 0.9  # of sgd and lars
  nesterov: bool = False  # of sgd and lars: look ahead along the momentum
  b1: float = 0.9  # of the others
  b2: float = 0.999  # of the others; lion's authors have 0.99
  epsilon: float | None = (
    None  # of adam, adamw and lamb, beside the root of the
  )
  # second moment; None: 1e-8, of lamb 1e-6
  weight_decay: float = 0.0  # of kernels; never of biases, norms, positions
  layer_decay: float = 1.0  # of the rate, from each layer to the one before
  freeze: str | None = None  # a regular expression found in the names of
  # parameters that stay as they are, '^embedding/' for one
  train: str | None = None  # likewise, of the only ones that learn:
  # '^output_projection' for a linear probe
  clip_norm: float | None = 1.0  # global norm, after the mean over devices
  sam_rho: float = 0.0  # distance at which the gradient is taken; 0: off


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """The length of training, and what it leaves behind."""

  batch_size: int = 64  # clips, over all devices
  accumulate: int = 1  # parts of a batch, one after another: less memory
  epochs: float = 30.0
  seed: int = 0
  label_smoothing: float = 0.0
  head_weights: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )  # head -> what its loss is multiplied with; 1 of those not named
  class_weights: str | None = None  # of examples, by how many their class has:
  # 'inverse', 'inverse_sqrt' or 'effective'; docs/runs.md
  class_weights_beta: float = 0.999  # of 'effective'
  ema: float = 0.0  # decay of a moving average of the weights; 0: off
  max_skipped: int = 10  # steps in a row that are not finite, and then the end
  log_every: int = 50  # steps
  profile_first: int = 0  # step to begin a profiler's trace at; 0: none
  profile_steps: int = 5
  wandb: str | None = None  # project of Weights & Biases to log to as well
  checkpoint_every: int = 1000  # steps
  keep_checkpoints: int = 3  # the last ones; the best one besides
  validate_every: int | None = None  # steps; 0: never; None: 1000, but for
  validate_epochs: float = 0.0  # epochs, instead of steps; 0: by steps
  validation_split: str = 'validation'
  best_metric: str = 'top1'  # mean over heads of top-1; or 'loss', or of one
  # head 'verb/top1', 'verb/loss', or of several labels a video 'verb/mAP'


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """What evaluate.py scores; `ema` counts for training's validation too."""

  split: str = 'validation'
  batch_size: int = 16  # videos, each with all its views, over all devices
  temporal_views: int = 4
  spatial_crops: int = 3  # 1: the centre; 3: along the longer side
  average: str = 'logits'  # over the views; or 'probabilities'
  ema: bool = True  # the averaged weights, of train.ema, where there are any;
  # of init_from too


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One experiment, whole."""

  init_from: str | None = None  # a checkpoint of any format to start from
  init_kernel: str = 'central_frame'  # or 'inflation': of an image's kernel
  init_grid: tuple[int, int, int] | None = None  # its tokens: frames, height,
  # width, where it does not tell and more than one would do
  init_options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )  # options of its model, where they are not what they seem
  class_order: str | None = None  # JSON {head: [names]}, as the outputs of a
  # foreign checkpoint are ordered
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: RunConfig = dataclasses.field(default_factory=RunConfig)
  evaluation: EvaluationConfig = dataclasses.field(
    default_factory=EvaluationConfig
  )


def default(family: str = 'factorised_encoder') -> ml_collections.ConfigDict:
  """Returns the defaults as a locked ConfigDict, for a file to change.

  Args:
    family: of the model; its own keys are in the section `model.options`.

  Raises:
    UserError: an unknown family.
  """
  data = DataConfig(**families.get(family).data)
  return typed.to_config_dict(TrainConfig(model=ModelConfig(family), data=data))


def set_family(config: ml_collections.ConfigDict, family: str) -> None:
  """Makes a config's model one of another family, in place.

  The new family's options are its defaults, but those that both families have
  and that differ from the old family's defaults keep their values.

  Raises:
    UserError: an unknown family.
  """
  model = families.as_family(config.model.to_dict(), family)
  new = typed.to_config_dict(ModelConfig(**model))
  with config.unlocked():
    config.model = new


def is_key(key: str) -> bool:
  """Returns whether there is a key of this dotted name, or a section."""
  return any(f'{k}.'.startswith(f'{key}.') for k in keys())


def unknown_key(key: str, family: str | None = None) -> str:
  """Returns the sentence for a key that there is not, or not in a family."""
  section, _, name = key.rpartition('.')
  if section == 'model.options':
    return families.unknown_option(name, family)
  # The same name in another section comes before a similar name.
  known = keys()
  known += sorted({k.partition('.')[0] for k in known if '.' in k})
  same = [other for other in known if other.rpartition('.')[2] == name]
  hint = nearest(key, same, at_least=0.0) or nearest(key, known)
  return f"unknown config key '{key}'.{hint}"


def help_text() -> str:
  """Returns all keys and their defaults, for people: each family's last."""
  lines = [
    f'  {key} = {value!r}'
    for key, value in typed.flat(TrainConfig()).items()
    if not key.startswith('model.options.')
  ]
  lines += ['', 'Keys of model.options, by model.family:', '']
  for name, family in families.every().items():
    pairs = typed.flat(family.options()).items()
    text = ', '.join(f'{key} = {value!r}' for key, value in pairs)
    indent = {'initial_indent': '  ', 'subsequent_indent': '    '}
    lines += textwrap.wrap(f'{name}: {text}', 79, **indent)
  return '\n'.join(lines)


def keys() -> list[str]:
  """Returns all keys, dotted, those of every family's options too."""
  options = {
    f'model.options.{key}'
    for family in families.every().values()
    for key in typed.keys(family.options)
  }
  return [*typed.keys(TrainConfig), *sorted(options)]


def resolve(config: ml_collections.ConfigDict) -> TrainConfig:
  """Returns the typed, checked experiment that a ConfigDict describes.

  Raises:
    UserError: an unknown key, a value of a wrong type, or values that do not
      fit each other; the message names keys and values.
  """
  resolved = from_mapping(config.to_dict())
  check(resolved)
  return resolved


def from_mapping(mapping: Mapping[str, Any]) -> TrainConfig:
  """Returns the experiment of nested mappings, as in a workdir's JSON."""
  return typed.parse(TrainConfig, mapping, unknown=unknown_key)


def to_json(config: TrainConfig) -> str:
  """Returns the experiment as indented JSON; `from_json` reads it back."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> TrainConfig:
  """Returns the experiment that `to_json` wrote."""
  try:
    mapping = json.loads(text)
  except (json.JSONDecodeError, RecursionError) as error:
    raise UserError(f'the config is not valid JSON: {error}.') from None
  if not isinstance(mapping, dict):
    raise UserError('the config is no JSON object.')
  return from_mapping(mapping)


def check_devices(config: TrainConfig, devices: int) -> None:
  """Raises a UserError where the batch does not divide over the devices.

  So must each device's share in `train.accumulate` parts.
  """
  batch, parts = config.train.batch_size, config.train.accumulate
  require(
    batch % devices == 0,
    f'train.batch_size is {batch}, which {devices} devices cannot share '
    'evenly: make it a multiple.',
  )
  require(
    batch % (devices * parts) == 0,
    f'train.batch_size is {batch}, which {devices} devices cannot share in '
    f'{parts} even parts each, as train.accumulate asks: make it a multiple of '
    f'{devices * parts}.',
  )


def videos_per_step(config: TrainConfig) -> int:
  """Returns how many different videos a batch has clips of."""
  return config.train.batch_size // config.augment.repeats


def training_steps(config: TrainConfig, videos: int) -> int:
  """Returns how many steps a training on so many videos has."""
  per_epoch = videos / videos_per_step(config)
  return max(1, math.ceil(config.train.epochs * per_epoch))


def less_is_better(metric: str) -> bool:
  """Returns whether a smaller value of a metric is the better one: a loss."""
  return metric.rpartition('/')[2] == 'loss'


def with_heads(config: TrainConfig, heads: Mapping[str, int]) -> TrainConfig:
  """Returns the config with these heads, in this order."""
  model = dataclasses.replace(config.model, heads=dict(heads))
  return dataclasses.replace(config, model=model)


def resolve_heads(
  config: TrainConfig, label_names: Mapping[str, list[str]]
) -> TrainConfig:
  """Returns the config with `model.heads` as the dataset has them.

  Raises:
    UserError: heads that the dataset lacks, or with other numbers of classes;
      weights of a head that there is not.
  """
  there = {head: len(names) for head, names in sorted(label_names.items())}
  asked = config.model.heads or there
  for head, classes in there.items():
    require(
      classes > 1 or head not in asked,
      f'dataset {config.data.dataset} has a single label for {head} '
      f'({"".join(label_names[head][:1])}): there is nothing to tell apart; '
      'prepare it with annotations of two labels or more.',
    )
  for head, classes in asked.items():
    if there.get(head) != classes:
      raise UserError(
        f'model.heads asks for {head} with {classes} classes, but dataset '
        f'{config.data.dataset} has {there}.'
      )
  for head in config.train.head_weights:
    require(
      head in asked,
      f'train.head_weights names {head}, but the heads are '
      f'{", ".join(sorted(asked))}: name one of them.{nearest(head, asked)}',
    )
  return with_heads(config, {h: asked[h] for h in sorted(asked)})


def target(config: TrainConfig) -> families.Target:
  """Returns the model that checkpoints are fitted to, with its clips."""
  data = config.data
  return families.Target(
    config.model, data.frames, data.crop, config.init_kernel
  )

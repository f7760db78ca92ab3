"""Every key of an experiment: its type, default, meaning and checks.

A file in `configs/` returns `default()` with its own differences, as an
ml_collections ConfigDict; `resolve` turns that, once, into the frozen
`TrainConfig` that the rest of the package reads. Nothing else sees a
ConfigDict.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from vivit_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network: `vivit_jax.models.build` says what each key means."""

  family: str = 'factorised_encoder'  # or joint, factorised_self_attention,
  # factorised_dot_product: the paper's Models 2, 1, 3 and 4
  size: str = 'B'  # Ti, S, B, L or H: blocks, attention heads, widths
  tubelet: tuple[int, int, int] = (2, 16, 16)  # frames, height, width, pixels
  embedding: str = 'tubelet'  # or 'uniform_frames', one of each tubelet
  spatial_layers: int | None = None  # None: the size's own depth
  temporal_layers: int = 4  # of factorised_encoder; 0: average over time
  order: str = 'space_time'  # of factorised attentions; or 'time_space'
  temporal_init: str = 'zero_output'  # or 'zero_all', 'random'
  kernel_init: str = 'central_frame'  # or 'random'
  positions: str = 'learned'  # or 'sinusoidal_1d', 'sinusoidal_3d', 'none'
  classifier: str | None = None  # 'token', 'average'; None: the family's own
  representation: int | None = None  # width of a tanh layer before the head
  stochastic_depth: float = 0.0  # rate at the last block
  depth_rates: str = 'paper'  # l / L; or 'reference': (l - 1) / (L - 1)
  scan: bool = False  # one traced block for all layers: compiles faster
  remat: str = 'none'  # 'dots', 'full': less memory, computed again
  dtype: str = 'float32'  # of the computation; or 'bfloat16'
  heads: Mapping[str, int] = dataclasses.field(
    default_factory=dict
  )  # name -> classes; empty: every label of the dataset


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which records are read, and which clips are cut from them."""

  dataset: str = 'videos'  # a TFDS name, or name/config
  data_dir: str = 'data'  # where `vivit_jax.data.prepare` wrote the records
  train_split: str = 'train'
  frames: int = 32  # of a clip
  stride: int = 2  # every stride-th frame of the video
  crop: tuple[int, int] = (224, 224)  # height, width of what the model sees
  short_side: int = 256  # videos are resized to it before a crop is cut
  scale_jitter: tuple[float, float] = (1.0, 1.0)  # of short_side, in training
  short_videos: str = 'refuse'  # or 'loop': shorter than a clip, played again
  workers: int = 2  # processes that decode; 0: in the main process
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of pixels in [0, 1]
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Training's random changes of clips, made on the accelerator."""

  flip: float = 0.5  # probability of a left-right flip
  colour_jitter: float = 0.0  # probability, of the reference's strengths
  colour_drop: float = 0.0  # probability of grey
  mixup: float = 0.0  # alpha of the Beta distribution; 0: off


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimiser and its schedule (paper, section 4.1: SGD, cosine)."""

  name: str = 'sgd'  # or 'adamw'
  learning_rate: float = 0.1  # at the end of the warm-up
  warmup_epochs: float = 2.5  # linear from 0
  momentum: float = 0.9  # of sgd
  b1: float = 0.9  # of adamw
  b2: float = 0.999
  weight_decay: float = 0.0  # of kernels; never of biases, norms, positions
  clip_norm: float | None = 1.0  # global norm, after the mean over devices


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """The length of training, and what it leaves behind."""

  batch_size: int = 64  # over all devices
  epochs: float = 30.0
  seed: int = 0
  label_smoothing: float = 0.0
  log_every: int = 50  # steps
  checkpoint_every: int = 1000  # steps
  keep_checkpoints: int = 3  # the last ones; the best one besides
  validate_every: int = 1000  # steps; 0: never
  validation_split: str = 'validation'
  best_metric: str = 'top1'  # mean over heads of top-1, or e.g. 'verb/top1'


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """What evaluate.py scores."""

  split: str = 'validation'
  batch_size: int = 16  # videos, each with all its views, over all devices
  temporal_views: int = 4
  spatial_crops: int = 3  # 1: the centre; 3: along the longer side


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One experiment, whole."""

  init_from: str | None = None  # a checkpoint of any format to start from
  init_kernel: str = 'central_frame'  # or 'inflation': of an image's kernel
  class_order: str | None = None  # JSON {head: [names]}, as the outputs of a
  # foreign checkpoint are ordered; for evaluate.py
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: RunConfig = dataclasses.field(default_factory=RunConfig)
  evaluation: EvaluationConfig = dataclasses.field(
    default_factory=EvaluationConfig
  )


def default() -> ml_collections.ConfigDict:
  """Returns the defaults as a locked ConfigDict, for a file to change."""

  def convert(value, hint):
    if dataclasses.is_dataclass(value):
      hints = typing.get_type_hints(type(value))
      return {
        field.name: convert(getattr(value, field.name), hints[field.name])
        for field in dataclasses.fields(value)
      }
    if isinstance(hint, types.UnionType):
      placeholder = config_dict.placeholder(typing.get_args(hint)[0])
      placeholder.set(value)
      return placeholder
    return dict(value) if isinstance(value, Mapping) else value

  return ml_collections.ConfigDict(convert(TrainConfig(), None)).lock()


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
  return _parse(TrainConfig, mapping, '')


def to_json(config: TrainConfig) -> str:
  """Returns the experiment as indented JSON; `from_json` reads it back."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> TrainConfig:
  """Returns the experiment that `to_json` wrote."""
  try:
    return from_mapping(json.loads(text))
  except json.JSONDecodeError as error:
    raise UserError(f'the config is not valid JSON: {error}.') from None


def _parse(kind: Any, value: Any, key: str) -> Any:
  """Returns `value` as an instance of `kind`, a dataclass or a type hint."""
  if dataclasses.is_dataclass(kind):
    return _parse_section(kind, value, key)
  if isinstance(kind, types.UnionType):
    return (
      None if value is None else _parse(typing.get_args(kind)[0], value, key)
    )
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is tuple:
    if not isinstance(value, list | tuple) or len(value) != len(arguments):
      raise UserError(f'{key} is {value!r}; it takes {len(arguments)} values.')
    return tuple(_parse(a, v, key) for a, v in zip(arguments, value))
  if origin is not None:  # Mapping[str, int]
    if not isinstance(value, Mapping):
      raise UserError(f'{key} is {value!r}; it takes a mapping.')
    return {k: _parse(arguments[1], v, f'{key}.{k}') for k, v in value.items()}
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise UserError(f'{key} is {value!r}; it takes a value of {kind.__name__}.')
  return value


def _parse_section(kind: Any, value: Any, key: str) -> Any:
  if not isinstance(value, Mapping):
    raise UserError(f'{key} is {value!r}; it is a section of keys.')
  hints = typing.get_type_hints(kind)
  prefix = f'{key}.' if key else ''
  for name in value:
    if name not in hints:
      raise UserError(
        f"unknown config key '{prefix}{name}'.{nearest(name, hints)}"
      )
  return kind(**{n: _parse(hints[n], v, prefix + n) for n, v in value.items()})


def check(config: TrainConfig) -> None:
  """Raises a UserError where values do not fit each other."""
  _check_model(config.model)
  _check_clip(config)
  _check_numbers(config)
  _one_of('init_kernel', config.init_kernel, ('central_frame', 'inflation'))


def _require(holds: bool, message: str) -> None:
  if not holds:
    raise UserError(message)


def _one_of(key: str, value: Any, known: tuple) -> None:
  names = ', '.join(str(name) for name in known)
  _require(value in known, f'{key} is {value!r}; it takes one of {names}.')


def _check_model(model: ModelConfig) -> None:
  _require(
    min(model.tubelet) >= 1,
    f'model.tubelet is {model.tubelet}; each side is at least 1.',
  )
  layers = model.spatial_layers
  _require(
    layers is None or layers >= 1,
    f'model.spatial_layers is {layers}; at least 1, or None.',
  )
  _require(
    model.temporal_layers >= 0,
    f'model.temporal_layers is {model.temporal_layers}; at least 0.',
  )
  width = model.representation
  _require(
    width is None or width >= 1,
    f'model.representation is {width}; at least 1, or None.',
  )
  for name, classes in model.heads.items():
    _require(
      classes >= 2, f'model.heads.{name} is {classes}; at least 2 classes.'
    )


def _check_clip(config: TrainConfig) -> None:
  data, (t, p, q) = config.data, config.model.tubelet
  _require(
    data.frames > 0 and data.frames % t == 0,
    f'data.frames is {data.frames}, which model.tubelet cuts in pieces of {t} '
    'frames: make it a multiple.',
  )
  for side, pixels, patch in zip(('height', 'width'), data.crop, (p, q)):
    _require(
      pixels > 0 and pixels % patch == 0,
      f'data.crop has {side} {pixels}, which model.tubelet cuts in pieces of '
      f'{patch} pixels: make it a multiple.',
    )
  _require(data.stride >= 1, f'data.stride is {data.stride}; at least 1.')
  _require(data.workers >= 0, f'data.workers is {data.workers}; at least 0.')
  _one_of('data.short_videos', data.short_videos, ('refuse', 'loop'))
  low, high = data.scale_jitter
  _require(
    0 < low <= high,
    f'data.scale_jitter is {data.scale_jitter}; lowest, then highest scale.',
  )
  _require(
    max(data.crop) <= data.short_side * min(low, 1.0),
    f'data.crop is {data.crop}, larger than data.short_side '
    f'{data.short_side} x {min(low, 1.0)} of data.scale_jitter: videos are '
    'resized to that before the crop.',
  )
  _require(min(data.std) > 0, f'data.std is {data.std}; each value is above 0.')


def _check_numbers(config: TrainConfig) -> None:
  _one_of('optim.name', config.optim.name, ('sgd', 'adamw'))
  views = config.evaluation
  _one_of('evaluation.spatial_crops', views.spatial_crops, (1, 3))
  rates = {
    'model.stochastic_depth': config.model.stochastic_depth,
    'train.label_smoothing': config.train.label_smoothing,
  }
  for key, rate in rates.items():
    _require(0 <= rate < 1, f'{key} is {rate}; at least 0 and below 1.')
  for key in ('flip', 'colour_jitter', 'colour_drop'):
    value = getattr(config.augment, key)
    _require(0 <= value <= 1, f'augment.{key} is {value}; a probability.')
  not_negative = {
    'augment.mixup': config.augment.mixup,
    'optim.learning_rate': config.optim.learning_rate,
    'optim.warmup_epochs': config.optim.warmup_epochs,
    'optim.weight_decay': config.optim.weight_decay,
    'train.validate_every': config.train.validate_every,
  }
  for key, value in not_negative.items():
    _require(
      value >= 0 and math.isfinite(value), f'{key} is {value}; at least 0.'
    )
  positive = {
    'train.batch_size': config.train.batch_size,
    'train.epochs': config.train.epochs,
    'train.log_every': config.train.log_every,
    'train.checkpoint_every': config.train.checkpoint_every,
    'train.keep_checkpoints': config.train.keep_checkpoints,
    'evaluation.batch_size': views.batch_size,
    'evaluation.temporal_views': views.temporal_views,
  }
  for key, value in positive.items():
    _require(value > 0, f'{key} is {value}; above 0.')
  clip = config.optim.clip_norm
  _require(
    clip is None or clip > 0, f'optim.clip_norm is {clip}; above 0, or None.'
  )


def check_devices(config: TrainConfig, devices: int) -> None:
  """Raises a UserError where the batch does not divide over the devices."""
  batch = config.train.batch_size
  _require(
    batch % devices == 0,
    f'train.batch_size is {batch}, which {devices} devices cannot share '
    'evenly: make it a multiple.',
  )


def with_heads(config: TrainConfig, heads: Mapping[str, int]) -> TrainConfig:
  """Returns the config with these heads, in this order."""
  model = dataclasses.replace(config.model, heads=dict(heads))
  return dataclasses.replace(config, model=model)


def resolve_heads(
  config: TrainConfig, label_names: Mapping[str, list[str]]
) -> TrainConfig:
  """Returns the config with `model.heads` as the dataset has them.

  Raises:
    UserError: heads that the dataset lacks, or with other numbers of classes.
  """
  there = {head: len(names) for head, names in sorted(label_names.items())}
  asked = config.model.heads or there
  for head, classes in asked.items():
    if there.get(head) != classes:
      raise UserError(
        f'model.heads asks for {head} with {classes} classes, but dataset '
        f'{config.data.dataset} has {there}.'
      )
  return with_heads(config, {h: asked[h] for h in sorted(asked)})


def model_arguments(model: ModelConfig) -> dict[str, Any]:
  """Returns the arguments of `vivit_jax.models.build`."""
  return dataclasses.asdict(model)


def token_grid(config: TrainConfig) -> tuple[int, int, int]:
  """Returns t, h and w of the tokens of a clip."""
  sizes = (config.data.frames, *config.data.crop)
  t, h, w = (size // part for size, part in zip(sizes, config.model.tubelet))
  return t, h, w

"""Config keys of an experiment: types, defaults, limits and meanings.

A file in `configs/` changes the ConfigDict of `default(family)` and returns it.
`resolve` converts it once to the frozen `TrainConfig`, which the rest of the
package reads. The keys of section `model` are in `models/family.py`, those of
`model.options` in the family's own file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
import typing
from collections.abc import Mapping
from typing import Any, Literal

from vivit_jax import typed
from vivit_jax.config_checks import check as check
from vivit_jax.config_checks import require
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig
from vivit_jax.typed import limited

if typing.TYPE_CHECKING:
  import ml_collections


def _probability(default: float) -> float:
  return limited(default, at_least=0, at_most=1)


def _decay(default: float) -> float:
  return limited(default, at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Records to read, and clips to cut from them."""

  dataset: str = 'videos'  # name, or videos/NAME: docs/datasets.md
  data_dir: str = 'data'  # output folder of `vivit_jax.data.prepare`
  train_split: str = 'train'
  frames: int = limited(32, above=0)  # frames of a clip
  # The frames are those of this many clips, one from each of as many equal
  # parts of the video; as model.clips.
  clips: int = limited(1, at_least=1)
  # Step between frames of a clip; only with sampling 'clip' and 'span'.
  stride: int = limited(2, above=0)
  # Frames of a clip: at the stride; spread over a span of frames x stride; one
  # from each of `frames` equal segments of the video; or evenly spaced over the
  # whole video: docs/input.md.
  sampling: Literal['clip', 'span', 'segments', 'whole'] = 'clip'
  # Frames of a clip per second of video; replaces the stride.
  frames_per_second: float | None = limited(None, above=0)
  # Height and width of the model's input, in pixels.
  crop: tuple[int, int] = limited((224, 224), above=0)
  short_side: int = limited(256, above=0)  # resize, in pixels, before the crop
  # Min and max random factor of short_side in training.
  scale_jitter: tuple[float, float] = (1.0, 1.0)
  # What is uniform between them: the factor, or its inverse.
  scale_jitter_uniform: Literal['factor', 'inverse'] = 'factor'
  # Min and max area of the training crop, relative to the frame; replaces
  # short_side and scale_jitter in training. None: off.
  crop_area: tuple[float, float] | None = limited(None, above=0, at_most=1)
  # Min and max width / height of such a crop, before it is resized to `crop`.
  crop_aspect: tuple[float, float] = limited((3 / 4, 4 / 3), above=0)
  # If a video is shorter than a clip: error, loop, or repeat the last frame.
  short_videos: Literal['refuse', 'loop', 'hold'] = 'refuse'
  balanced: str | None = None  # head whose classes are sampled equally often
  # Share of unreadable videos that training may skip.
  max_unreadable: float = _probability(0.01)
  # Decoding processes; 0: decode in the main process.
  workers: int = limited(2, at_least=0, at_most=1024)
  channels: Literal['rgb', 'bgr'] = 'rgb'  # order of the model's input
  # Of pixels in [0, 1], in the order of `channels`.
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = limited((0.5, 0.5, 0.5), above=0)

  @property
  def pixels(self) -> tuple:
    """Arguments of `pixels.normalise` after the video."""
    return self.mean, self.std, self.channels

  @property
  def is_spread(self) -> bool:
    """Whether a clip's frames are spread over the whole video."""
    return self.sampling in ('segments', 'whole')


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random augmentation in training; docs/augmentation.md explains each key."""

  flip: float = _probability(0.5)  # left to right
  randaugment_layers: int = limited(0, at_least=0)  # operations on a clip
  # Strength of every operation.
  randaugment_magnitude: float = limited(10.0, at_least=0, at_most=30)
  # Operations and strengths: TensorFlow's; or timm's `inc1`, whose strengths
  # increase with the magnitude, and of which half of the layers are applied.
  randaugment_scale: Literal['tensorflow', 'timm'] = 'tensorflow'
  # Standard deviation of each layer's magnitude (timm's `mstd`).
  randaugment_deviation: float = limited(0.0, at_least=0)
  # 'colour': no geometric operations, as in scenic.
  randaugment_operations: Literal['all', 'colour'] = 'all'
  colour_jitter: float = _probability(0.0)  # with scenic's strengths
  colour_drop: float = _probability(0.0)  # to grey
  erasing: float = _probability(0.0)  # of a random box
  # Noise that is the same in all frames, or new in each; or data.mean.
  erasing_fill: Literal['noise', 'noise_per_frame', 'mean'] = 'noise'
  mixup: float = limited(0.0, at_least=0)  # alpha of the Beta distribution
  cutmix: float = limited(0.0, at_least=0)  # alpha of the Beta distribution
  # Probability of cutmix for a batch, if mixup is on too.
  cutmix_probability: float = _probability(0.5)
  repeats: int = limited(1, above=0)  # clips of each video in a batch


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimiser and its schedule (paper, section 4.1: SGD, cosine)."""

  name: Literal['sgd', 'adamw', 'adam', 'lamb', 'lars', 'lion'] = 'sgd'
  learning_rate: float = limited(0.1, at_least=0)  # peak, after warm-up
  warmup_epochs: float = limited(2.5, at_least=0)  # linear
  warmup_steps: int | None = limited(None, at_least=0)  # replaces the epochs
  warmup_rate: float = _probability(0.0)  # first share of learning_rate
  # Decay after the warm-up.
  schedule: Literal['cosine', 'linear', 'polynomial', 'step', 'constant'] = (
    'cosine'
  )
  # Final share of learning_rate, for cosine, linear and polynomial decay.
  final_rate: float = _probability(0.0)
  power: float = limited(2.0, above=0)  # polynomial
  decay_epochs: float = limited(10.0, above=0)  # step: epochs between decays
  decay_at: tuple[float, ...] = limited((), above=0)  # step: epochs instead
  decay_factor: float = limited(0.1, above=0, at_most=1)  # step
  momentum: float = _decay(0.9)  # sgd and lars
  nesterov: bool = False  # sgd and lars
  b1: float = _decay(0.9)  # all other optimisers
  b2: float = _decay(0.999)  # all other optimisers; lion's paper has 0.99
  epsilon: float | None = limited(None, above=0)  # None: 1e-8 (lamb: 1e-6)
  weight_decay: float = limited(0.0, at_least=0)
  # 'kernels': not for biases, norms, positions and class tokens; 'matrices':
  # not for biases and norms; 'not_norms': not for norms and positions.
  weight_decay_on: Literal['kernels', 'matrices', 'not_norms', 'all'] = (
    'kernels'
  )
  # Layer-wise learning-rate decay: factor per layer, from the top.
  layer_decay: float = limited(1.0, above=0, at_most=1)
  # Factor of the learning rate of all parameters but the heads, representation
  # layer and attention pool; multiplied with that of layer_decay.
  backbone_rate: float = limited(1.0, above=0)
  # Regular expression: parameters with a matching name are frozen.
  freeze: str | None = None
  # Regular expression: only parameters with a matching name are trained, such
  # as '^output_projection' for a linear probe.
  train: str | None = None
  # Gradient clipping: max global norm of the mean gradient; None: off.
  clip_norm: float | None = limited(1.0, above=0)
  sam_rho: float = limited(0.0, at_least=0)  # radius of SAM; 0: off


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Length, loss, logging and checkpoints of training."""

  batch_size: int = limited(64, above=0)  # clips, over all devices
  accumulate: int = limited(1, above=0)  # gradient accumulation steps
  epochs: float = limited(30.0, above=0, at_most=1_000_000)
  seed: int = limited(0, at_least=0, below=2**32)
  label_smoothing: float = _decay(0.0)
  # Head name -> weight of its loss; 1 for other heads.
  head_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
  # Weights of examples by the frequency of their class: docs/runs.md.
  class_weights: Literal['inverse', 'inverse_sqrt', 'effective'] | None = None
  class_weights_beta: float = _decay(0.999)  # 'effective'
  ema: float = _decay(0.0)  # decay of the moving average of weights; 0: off
  # Training ends after this many consecutive non-finite steps.
  max_skipped: int = limited(10, above=0)
  log_every: int = limited(50, above=0)  # steps
  profile_first: int = limited(0, at_least=0)  # first profiled step; 0: off
  profile_steps: int = limited(5, above=0)
  wandb: str | None = None  # project of Weights & Biases to log to
  checkpoint_every: int = limited(1000, above=0)  # steps
  keep_checkpoints: int = limited(3, above=0)  # newest; the best is kept too
  # Steps between validations; 0: never; None: 1000, unless validate_epochs.
  validate_every: int | None = limited(None, at_least=0)
  validate_epochs: float = limited(0.0, at_least=0)  # 0: validate by steps
  validation_split: str = 'validation'
  # 'top1' and 'loss' are means over heads. For one head: 'verb/top1',
  # 'verb/loss', or 'verb/mAP' if videos have several labels.
  best_metric: str = 'top1'


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Protocol of evaluate.py; training's validation uses `ema` too."""

  split: str = 'validation'
  batch_size: int = limited(16, above=0)  # videos, over all devices
  temporal_views: int = limited(4, above=0)
  # Clips of a video: from its start to its end and, for a single one, in the
  # middle; at shares 0, 1/V, 2/V, ... of the possible starts; or in the middle
  # of V equal parts of them: docs/input.md.
  views_from: Literal['middle', 'start', 'parts'] = 'middle'
  spatial_crops: Literal[1, 3] = 3  # 1: centre; 3: along the longer side
  average: Literal['logits', 'probabilities'] = 'logits'  # over the views
  ema: bool = True  # use averaged weights, if any; also those of init_from


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """Heads and tokens of `vivit_jax.probe`: docs/probing.md."""

  # The grid: every combination of these. Empty: the value of `optim` or
  # `model`.
  learning_rates: tuple[float, ...] = limited((), at_least=0)
  weight_decays: tuple[float, ...] = limited((), at_least=0)
  # 'mean', 'token', 'attention', or a form: 'attention/vjepa'.
  pools: tuple[str, ...] = ()
  # The encoder runs in every step, or once before training.
  tokens: Literal['encoder', 'stored'] = 'encoder'
  # Pools read the mean token of each frame or of the clip ('clip': only the
  # pool 'mean').
  average: Literal['frame', 'clip'] | None = None
  # Of stored tokens only: clips of each training video, ...
  clips: int = limited(1, above=0)
  dtype: Literal['bfloat16', 'float32'] = 'bfloat16'
  folder: str | None = None  # None: <workdir>/tokens
  max_gigabytes: float = limited(100.0, above=0)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """All keys of one experiment."""

  init_from: str | None = None  # checkpoint to start from: path or hf:// name
  # How an image model's patch kernel becomes a tubelet kernel.
  init_kernel: Literal['central_frame', 'inflation', 'random'] = 'central_frame'
  # Token grid of init_from, if the file does not determine it.
  init_grid: tuple[int, int, int] | None = limited(None, at_least=1)
  # Options of init_from's model that its arrays do not show.
  init_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # JSON file {head: [names]}: class names in a checkpoint's output order.
  class_order: str | None = None
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: RunConfig = dataclasses.field(default_factory=RunConfig)
  evaluation: EvaluationConfig = dataclasses.field(
    default_factory=EvaluationConfig
  )
  probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)


def default(family: str = 'factorised_encoder') -> ml_collections.ConfigDict:
  """Returns the default config of a model family, as a locked ConfigDict.

  Raises:
    UserError: an unknown family.
  """
  data = DataConfig(**families.get(family).data)
  return typed.to_config_dict(TrainConfig(model=ModelConfig(family), data=data))


def set_family(config: ml_collections.ConfigDict, family: str) -> None:
  """Changes a config's model family, in place.

  An option keeps its value if both families have it and the value is not the
  old family's default. All other options get the new family's defaults.

  Raises:
    UserError: an unknown family.
  """
  model = families.as_family(config.model.to_dict(), family)
  new = typed.to_config_dict(ModelConfig(**model))
  with config.unlocked():
    config.model = new


def is_key(key: str) -> bool:
  """Returns whether a dotted name is a key, or a section of keys."""
  return any(f'{k}.'.startswith(f'{key}.') for k in keys())


# Names of keys in other projects.
_ELSEWHERE = {
  'lr': 'optim.learning_rate',
  'base_lr': 'optim.learning_rate',
  'wd': 'optim.weight_decay',
  'rates': 'probe.learning_rates',
  'lrs': 'probe.learning_rates',
  'num_frames': 'data.frames',
  'sampling_rate': 'data.stride',
  'img_size': 'data.crop',
  'crop_size': 'data.crop',
  'num_epochs': 'train.epochs',
  'num_training_epochs': 'train.epochs',
  'rng_seed': 'train.seed',
}


def unknown_key(key: str, family: str | None = None) -> str:
  """Returns the error message for an unknown dotted key."""
  section, _, name = key.rpartition('.')
  options = {k for k in keys() if k.startswith('model.options.')}
  if section == 'model.options' or f'model.options.{key}' in options:
    return families.unknown_option(name, family)
  if name == 'num_classes':
    return f"unknown config key '{key}': the dataset determines the classes."
  if name in _ELSEWHERE:
    return f"unknown config key '{key}': it is '{_ELSEWHERE[name]}' here."
  # Prefer the same name in another section to a similar name.
  known = keys()
  known += sorted({k.partition('.')[0] for k in known if '.' in k})
  same = [other for other in known if other.rpartition('.')[2] == name]
  hint = nearest(key, same, at_least=0.0) or nearest(key, known)
  return f"unknown config key '{key}'.{hint}"


def help_text() -> str:
  """Returns all keys with their defaults, for --help."""
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
  """Returns all dotted keys, including the options of all families."""
  options = {
    f'model.options.{key}'
    for family in families.every().values()
    for key in typed.keys(family.options)
  }
  return [*typed.keys(TrainConfig), *sorted(options)]


def resolve(config: ml_collections.ConfigDict) -> TrainConfig:
  """Returns a ConfigDict as a typed and checked config.

  Raises:
    UserError: an unknown key, a value of a wrong type or outside its limits, or
      values that contradict each other.
  """
  resolved = from_mapping(config.to_dict())
  check(resolved)
  return resolved


def from_mapping(mapping: Mapping[str, Any]) -> TrainConfig:
  """Returns nested mappings, such as a workdir's JSON, as a typed config.

  Raises:
    UserError: an unknown key, or a value of a wrong type or outside its limits.
  """
  return typed.parse(TrainConfig, mapping, '', unknown_key)


def to_json(config: TrainConfig) -> str:
  """Returns the config as indented JSON, which `from_json` reads."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> TrainConfig:
  """Returns the config that `to_json` wrote.

  Raises:
    UserError: invalid JSON, or as `from_mapping`.
  """
  try:
    mapping = json.loads(text)
  except (json.JSONDecodeError, RecursionError) as error:
    raise UserError(f'the config is not valid JSON: {error}.') from None
  if not isinstance(mapping, dict):
    raise UserError('the config is not a JSON object.')
  return from_mapping(mapping)


def check_devices(config: TrainConfig, devices: int) -> None:
  """Raises a UserError unless devices and micro-batches divide the batch."""
  batch, parts = config.train.batch_size, config.train.accumulate
  require(
    batch % (devices * parts) == 0,
    f'train.batch_size is {batch}; make it a multiple of {devices * parts}: '
    f'{devices} devices x {parts} (train.accumulate).',
  )


def videos_per_step(config: TrainConfig) -> int:
  """Returns the number of different videos in a batch."""
  return config.train.batch_size // config.augment.repeats


def training_steps(config: TrainConfig, videos: int) -> int:
  """Returns the number of training steps on a split of `videos` videos."""
  per_epoch = videos / videos_per_step(config)
  return max(1, math.ceil(config.train.epochs * per_epoch))


def less_is_better(metric: str) -> bool:
  """Returns whether smaller values are better, as for a loss."""
  return metric.rpartition('/')[2] == 'loss'


def with_heads(config: TrainConfig, heads: Mapping[str, int]) -> TrainConfig:
  """Returns the config with other heads, in the given order."""
  model = dataclasses.replace(config.model, heads=dict(heads))
  return dataclasses.replace(config, model=model)


def resolve_heads(
  config: TrainConfig, label_names: Mapping[str, list[str]]
) -> TrainConfig:
  """Returns the config with `model.heads` taken from the dataset.

  Heads that the config sets are checked and used.

  Raises:
    UserError: a head that the dataset does not have, or with another number of
      classes; a head with a single class; or `train.head_weights` of an unknown
      head.
  """
  classes = {head: len(names) for head, names in sorted(label_names.items())}
  heads = config.model.heads or classes
  for head, count in heads.items():
    require(
      classes.get(head) == count,
      f'model.heads.{head} is {count}, but dataset {config.data.dataset} has '
      f'{classes}.',
    )
    require(
      count > 1,
      f'dataset {config.data.dataset} has a single label for {head} '
      f'({"".join(label_names[head])}); prepare it with two labels or more.',
    )
  for head in config.train.head_weights:
    require(
      head in heads,
      f'train.head_weights names {head}, but the heads are '
      f'{", ".join(sorted(heads))}.{nearest(head, heads)}',
    )
  return with_heads(config, dict(sorted(heads.items())))


def target(config: TrainConfig) -> families.Target:
  """Returns the model and clip shape that checkpoint arrays must match."""
  data = config.data
  return families.Target(
    config.model, data.frames // data.clips, data.crop, config.init_kernel
  )

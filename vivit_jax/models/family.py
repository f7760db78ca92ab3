"""Descriptions of model families, and their registry.

A family is one file. It declares config keys and sizes, builds the backbone,
and describes the parameters: their layers, and how they are resized, imported
and exported. The rest of the package reads all this from `Family` and knows no
parameter names. docs/families.md explains how to write one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from vivit_jax import typed
from vivit_jax.errors import UserError, nearest

if typing.TYPE_CHECKING:
  import flax.linen as nn
  import jax
  import numpy as np

  from vivit_jax.models.rollout import Rollout
  from vivit_jax.models.weights import File, Weights

  Arrays = Mapping[str, np.ndarray]  # by flat name: 'Transformer/cls'

Grid = tuple[int, int, int]  # token grid (t, h, w)
# Modules of this package that register families.
BUILT_IN = (
  'vivit',
  'timesformer',
  'vtn',
  'stam',
  'mvit',
  'video_swin',
  'videomae',
  'videoprism',
  'vjepa2',
)
# Environment variable with more such modules, separated by commas.
MODULES = 'VIVIT_JAX_FAMILIES'
# Keys of `ModelConfig` that some families lack; see `Family.supports`.
BUILD_KEYS = (
  'stochastic_depth',
  'depth_rates',
  'scan',
  'remat',
  'attention',
  'dtype',
)


@dataclasses.dataclass(frozen=True)
class AttentionPool:
  """Keys of the pool 'attention'; see `models.attention_pools`."""

  form: Literal['big_vision', 'videoprism', 'videoglue', 'vjepa'] = 'big_vision'
  # Attention heads; None: as many as the backbone.
  heads: int | None = typed.limited(None, above=0)
  # Self-attention blocks before the pool; only of form 'vjepa'.
  blocks: int = typed.limited(0, at_least=0)
  epsilon: float = typed.limited(1e-6, above=0)  # of its layer norms
  # Whether it reads the mean token of each frame (or tubelet) instead of all.
  per_frame: bool = False
  # Width of attention / D, and whether the result is divided by its length;
  # only of form 'videoprism', whose video-text model has 4 and True.
  widening: int = typed.limited(1, above=0)
  unit: bool = False


# Key of `AttentionPool` -> the only form that has it.
OF_ONE_FORM = {
  'blocks': 'vjepa',
  'widening': 'videoprism',
  'unit': 'videoprism',
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network: keys common to all families, and the family's `options`."""

  family: str = 'factorised_encoder'
  size: str | None = None  # a key of the family's sizes; None: its default
  pool: str | None = None  # one of the family's pools; None: its first
  # Keys of the pool 'attention'; None: the family's.
  attention_pool: AttentionPool = None
  representation: int | None = None  # width of a tanh layer before the head
  dropout: float = typed.limited(0.0, at_least=0, below=1)  # before the head
  # The input's frames are those of this many clips in a row, which are encoded
  # apart and pooled together; as data.clips.
  clips: int = typed.limited(1, at_least=1)
  stochastic_depth: float = 0.0  # rate at the last block
  # Factor, block l of L: 'paper' l / L, 'reference' (l - 1) / (L - 1).
  depth_rates: Literal['paper', 'reference'] = 'paper'
  scan: bool = False  # trace one block for all layers: compiles faster
  # Gradient checkpointing, what is recomputed: 'full': each block; 'dots': all
  # but its matrix products; 'stages': each stage of a `Family.has_stages`.
  remat: Literal['none', 'dots', 'full', 'stages'] = 'none'
  # Implementation of attention; see `models.attention`.
  attention: Literal['auto', 'plain', 'chunked', 'cudnn', 'flax'] = 'auto'
  dtype: Literal['float32', 'bfloat16'] = 'float32'  # of the computation
  # Head name -> number of classes; empty: every label of the dataset.
  heads: Mapping[str, int] = dataclasses.field(default_factory=dict)
  # Instance of `Family.options`, or a mapping of its keys; None: its defaults.
  options: Any = None

  def __post_init__(self):
    family = get(self.family)
    if self.size is None:
      size = family.default_size or next(iter(family.sizes))
      object.__setattr__(self, 'size', size)
    pool = self.attention_pool or family.attention_pool
    if isinstance(pool, Mapping):
      pool = AttentionPool(**pool)
    object.__setattr__(self, 'attention_pool', pool)
    if type(self.options) is not family.options:
      given = self.options or {}
      if dataclasses.is_dataclass(given):
        given = dataclasses.asdict(given)
      parsed = typed.parse(
        family.options,
        given,
        'model.options',
        lambda key: unknown_option(key.rpartition('.')[2], self.family),
      )
      object.__setattr__(self, 'options', parsed)


@dataclasses.dataclass(frozen=True)
class Layers:
  """Layer of each parameter, for layer-wise learning-rate decay.

  The embedding is layer 0, and block l of L is layer l. Heads and built-in
  pools are layer L + 1 and need no rule.

  Attributes:
    blocks: L.
    rules: (pattern, layer) pairs; the first pattern that matches the start of
      the parameter's name applies. A layer is a number, or a function of the
      number in the pattern's first group.
  """

  blocks: int
  rules: Sequence[tuple[str, int | Callable[[int], int]]]

  def layer_of(self, name: str) -> int | None:
    """Returns the layer of a backbone parameter, or None if no rule matches."""
    for pattern, layer in self.rules:
      if match := re.match(pattern, name):
        return layer(int(match[1])) if callable(layer) else layer
    return None


@dataclasses.dataclass(frozen=True)
class Target:
  """The model that a checkpoint's arrays are loaded into.

  Attributes:
    model: model config, heads included.
    frames: frames per clip.
    crop: height and width of a clip, in pixels.
    kernel: conversion of an image model's patch kernel to a tubelet kernel:
      'central_frame', 'inflation' or 'random'.
  """

  model: ModelConfig
  frames: int
  crop: tuple[int, int]
  kernel: str = 'central_frame'

  @property
  def family(self) -> Family:
    return get(self.model.family)

  @functools.cached_property
  def grid(self) -> Grid:
    """The token grid (t, h, w) of a clip."""
    return self.family.grid(self.model.options, self.frames, self.crop)


@dataclasses.dataclass(frozen=True)
class Resizing:
  """Input of a resize function: an array of a checkpoint and its target.

  Attributes:
    name: parameter name.
    value: the checkpoint's array.
    initial: the model's initial value, or only its shape and dtype.
    source: the checkpoint.
    target: the model.
  """

  name: str
  value: np.ndarray
  initial: np.ndarray
  source: Weights
  target: Target


# Output of a resize function: the array in the target's shape (None if it can't
# be resized), and a description of the change ('' if unchanged).
Resized = tuple['np.ndarray | None', str]


@dataclasses.dataclass(frozen=True)
class Import:
  """Reader of another project's file format.

  Attributes:
    matches: whether a file has the format, by its array names and config.
    read: reads and renames the arrays. Raises a UserError for a damaged file or
      another model.
  """

  matches: Callable[[File], bool]
  read: Callable[[File], Weights]


@dataclasses.dataclass(frozen=True)
class Published:
  """A published variant: a row of the table in docs/models.md.

  Attributes:
    name: as in the publication.
    size: a key of the family's sizes.
    options: values that differ from the family's defaults.
    frames: frames per clip; None: the family's default.
    crop: height and width in pixels; None: the family's default.
    parameters: published count, in millions.
    gflops: published multiply-adds of one clip, in billions.
  """

  name: str
  size: str
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  frames: int | None = None
  crop: int | None = None
  parameters: float | None = None
  gflops: float | None = None


def _none(*_) -> None:
  return None


@dataclasses.dataclass(frozen=True)
class Family:
  """A family of models; only the first six fields are required."""

  name: str  # value of model.family
  # Frozen dataclass of the family's own config keys, `config.model.options`.
  # Its `__post_init__` may check them.
  options: type
  sizes: Mapping[str, Any]  # values of model.size -> the family's own data
  # (config, class_token) -> backbone, a Flax module. It is called with a video
  # [B, T, H, W, 3] and a `blocks.Mode`, and returns `pools.Encoded`.
  # class_token: whether the pool reads a class token.
  build: Callable[[ModelConfig, bool], nn.Module]
  # (options, frames, crop) -> token grid (t, h, w) of a clip.
  grid: Callable[[Any, int, tuple[int, int]], Grid]
  layers: Callable[[ModelConfig], Layers]

  # Config and construction.
  default_size: str = ''  # '': the first size
  # Values of config section `data` that the released weights need: mean, std,
  # crop, ... `config.default` sets them.
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # The BUILD_KEYS that `build` reads; others are an error. With 'scan', name
  # the blocks `encoderblock_<i>`.
  supports: Sequence[str] = ()
  check: Callable[[ModelConfig], None] = _none  # raises UserError
  # (options, frames, crop): raises UserError.
  check_clip: Callable[[Any, int, tuple[int, int]], None] = _none
  pools: Sequence[str] = ('mean',)  # values of model.pool; the first: default
  # config -> (attention heads, MLP width) of the pool 'attention'.
  pool_sizes: Callable[[ModelConfig], tuple[int, int]] | None = None
  # Defaults of `ModelConfig.attention_pool`.
  attention_pool: AttentionPool = AttentionPool()
  # The family's own pools, besides `pools.POOLS`: name -> function (config) ->
  # module that maps `pools.Encoded` to [B, D]. `layers` needs rules for their
  # parameters.
  extra_pools: Mapping[str, Callable[[ModelConfig], nn.Module]] = (
    dataclasses.field(default_factory=dict)
  )

  # Loading weights; used by `checkpoints.merge`.
  # Readers of file formats, also of the models in `initialises_from`.
  imports: Sequence[Import] = ()
  # Other model to start from (one of `Weights.models`) -> function (arrays,
  # target) -> arrays with this family's names.
  initialises_from: Mapping[str, Callable[[Arrays, Target], Arrays]] = (
    dataclasses.field(default_factory=dict)
  )
  # (pattern, function) pairs. The function is called for every array whose
  # full name matches, even if its shape fits.
  resize: Sequence[tuple[str, Callable[[Resizing], Resized]]] = ()
  # (name, source, initial arrays) -> why the checkpoint may lack this array,
  # or why the model may not use it; None: an error.
  explain_missing: Callable[[str, Weights, Arrays], str | None] = _none
  explain_unused: Callable[[str, Weights, Arrays], str | None] = _none
  # Options that must be the same as in training.
  fixed_options: Sequence[str] = ()
  # Options that may differ from training; a difference is reported.
  reported_options: Sequence[str] = ()
  # Whether the backbone gives `pools.Encoded.stages` and supports
  # model.remat='stages'.
  has_stages: bool = False
  # Whether the model reads `blocks.Mode.frame_BxT`. If so, all commands pass
  # the frame numbers of each clip to it.
  reads_frame_numbers: bool = False
  # (options, frames) -> number of the clip's frames that the model reads.
  frames_used: Callable[[Any, int], int] = lambda options, frames: frames
  # arrays -> {option: size} from the shapes, for error messages.
  infer_sizes: Callable[[Arrays], Mapping[str, int]] = lambda arrays: {}
  # arrays -> more lines of `checkpoints inspect`.
  describe: Callable[[Arrays], Mapping[str, str]] = lambda arrays: {}
  # Format -> function (weights, clip) -> contents; see `checkpoints.convert`.
  exports: Mapping[str, Callable] = dataclasses.field(default_factory=dict)

  # (captured, config, batch, grid) -> attention rollout. `captured` has the
  # outputs of all modules named query and key, nested like the modules. None:
  # no rollout.
  attention_flow: Callable[..., Rollout] | None = None
  # Layers of the explanation by gradient: a pattern that fits the full names of
  # their modules; '': `Encoded.tokens`, if the pool reads nothing else.
  cam: str = ''
  # (products [..., N] of one of these outputs [..., N, D], config, batch, grid)
  # -> [B, t', h', w'], of any resolution, without class tokens. None:
  # `gradient.on_last_tokens`.
  cam_map: Callable[..., jax.Array] | None = None

  # For docs/models.md.
  title: str = ''  # '': the name without underscores
  clip: tuple[int, int] = (32, 224)  # default frames and crop
  published: Sequence[Published] = ()


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
  """Registers and returns a family; replaces an external one of its name.

  Raises:
    ValueError: the package has a family of this name.
  """
  old = _FAMILIES.get(family.name)
  if old and old.options.__module__.startswith(f'{__package__}.'):
    raise ValueError(f"the family '{family.name}' exists already")
  _FAMILIES[family.name] = family
  return family


def every() -> Mapping[str, Family]:
  """Returns all families by name.

  Raises:
    UserError: a module named by the environment variable cannot be imported.
  """
  for module in BUILT_IN:
    importlib.import_module(f'{__package__}.{module}')
  for module in filter(None, os.environ.get(MODULES, '').split(',')):
    try:
      importlib.import_module(module)
    except ImportError as error:
      raise UserError(
        f"cannot import '{module}', named by {MODULES} ({error}): put its "
        'folder on PYTHONPATH.'
      ) from None
  return _FAMILIES


def get(name: str) -> Family:
  """Returns a family by name.

  Raises:
    UserError: an unknown name.
  """
  families = every()
  if name not in families:
    raise UserError(
      f"model.family is '{name}'; it takes one of {', '.join(families)}."
      f'{nearest(str(name), families)} For your own family, set {MODULES} to '
      'its module.'
    )
  return families[name]


def as_family(model: Mapping[str, Any], family: str) -> dict[str, Any]:
  """Returns the config section `model` with another family.

  The size is kept if the new family has it. An option is kept if both families
  have it and its value is not the old default.

  Raises:
    UserError: an unknown family.
  """
  new, old = get(family), get(model['family'])
  defaults = dataclasses.asdict(old.options())
  options = {
    key: value
    for key, value in model['options'].items()
    if key in typed.keys(new.options) and value != defaults.get(key)
  }
  size = model['size'] if model['size'] in new.sizes else None
  pool = model['attention_pool']
  if pool == dataclasses.asdict(old.attention_pool):
    pool = dataclasses.asdict(new.attention_pool)
  changed = {'size': size, 'options': options, 'attention_pool': pool}
  return {**model, 'family': family, **changed}


def unknown_option(option: str, family: str | None = None) -> str:
  """Returns the error message for an option that a family does not have.

  Args:
    option: key without its section.
    family: None if unknown.
  """
  key = f"config key 'model.options.{option}'"
  options = {name: typed.keys(f.options) for name, f in every().items()}
  owners = [name for name, known in options.items() if option in known]
  if owners:
    of_owners = f'{key} belongs to {" and ".join(owners)}'
    if family in options:
      return f'{of_owners}; {family} has {", ".join(options[family])}.'
    return (
      f'{of_owners}. Configs of {owners[0]} begin with '
      f"configs.default('{owners[0]}')."
    )
  known = options.get(family) or sorted({*itertools.chain(*options.values())})
  return f'unknown {key}; there are {", ".join(known)}.{nearest(option, known)}'

"""What a family of models says of itself, and the registry of families.

A family is one file that owns its facts: config keys and sizes, how it is
built, which layer a parameter belongs to, how its arrays are resized, what
they are called in other projects' files, what is published about it.
Everything else asks here and knows no parameter name.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from vivit_jax import typed
from vivit_jax.errors import UserError, nearest

if typing.TYPE_CHECKING:
  import flax.linen as nn
  import numpy as np

  from vivit_jax.models.rollout import Rollout
  from vivit_jax.models.weights import File, Weights

Grid = tuple[int, int, int]  # tokens: temporal indices, rows, columns
BUILT_IN = ('vivit',)  # modules of this package that register families
# Environment variable: further modules that do, with commas between them.
MODULES = 'VIVIT_JAX_FAMILIES'
# Keys of `ModelConfig` that a family may not read: see `Family.reads`.
BUILD_KEYS = (
  'stochastic_depth',
  'depth_rates',
  'scan',
  'remat',
  'attention',
  'dtype',
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network: keys of every family, and `options`, the family's own."""

  family: str = 'factorised_encoder'  # which says what each option means
  size: str | None = None  # of its table of sizes; None: its usual one
  pool: str | None = None  # 'token', 'mean', 'attention'; None: the family's
  representation: int | None = None  # width of a tanh layer before the head
  stochastic_depth: float = 0.0  # rate at the last block
  depth_rates: Literal['paper', 'reference'] = 'paper'  # l / L, or
  # (l - 1) / (L - 1)
  scan: bool = False  # one traced block for all layers: compiles faster
  remat: Literal['none', 'dots', 'full'] = 'none'  # recomputed: less memory
  attention: Literal['auto', 'plain', 'blocked', 'chunked', 'cudnn', 'flax'] = (
    'auto'  # models.attention says what each is
  )
  dtype: Literal['float32', 'bfloat16'] = 'float32'  # of the computation
  heads: Mapping[str, int] = dataclasses.field(
    default_factory=dict
  )  # name -> classes; empty: every label of the dataset
  options: Any = None  # of the family; a mapping is parsed, None: its defaults

  def __post_init__(self):
    family = get(self.family)
    if self.size is None:
      usual = family.size or next(iter(family.sizes))
      object.__setattr__(self, 'size', usual)
    kind = family.options
    if type(self.options) is not kind:
      given = self.options
      if dataclasses.is_dataclass(given):
        given = dataclasses.asdict(given)
      parsed = typed.parse(kind, given or {}, 'model.options', self._unknown)
      object.__setattr__(self, 'options', parsed)

  def _unknown(self, key: str) -> str:
    return unknown_option(key.rpartition('.')[2], self.family)


@dataclasses.dataclass(frozen=True)
class Layers:
  """Which layer each parameter belongs to, for layer-wise learning rates.

  Layer 0 is the embedding, block l of L is layer l, heads and pools are layer
  L + 1.

  Attributes:
    blocks: L.
    rules: (pattern, layer) pairs; the first pattern found at the start of a
      parameter's name counts. A layer is a number, or a function of the number
      that the pattern's group matches.
  """

  blocks: int
  rules: Sequence[tuple[str, int | Callable[[int], int]]]

  def of(self, name: str) -> int | None:
    """Returns the layer of a parameter of the backbone; None if unknown."""
    for pattern, layer in self.rules:
      if match := re.match(pattern, name):
        return layer(int(match[1])) if callable(layer) else layer
    return None


@dataclasses.dataclass(frozen=True)
class Target:
  """The model that a checkpoint's arrays are fitted to.

  Attributes:
    model: its config, with heads.
    frames, crop: of its clips; crop is height and width in pixels.
    kernel: how an image model's patch kernel becomes a tubelet's:
      'central_frame' or 'inflation'.
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
    """t, h and w of the tokens of a clip."""
    return self.family.grid(self.model.options, self.frames, self.crop)


@dataclasses.dataclass(frozen=True)
class Resizing:
  """An array of a checkpoint that must become one of the target's."""

  name: str
  found: np.ndarray
  start: np.ndarray  # the target's own initial value
  source: Weights
  target: Target


# The array in the target's shape and how it came to it ('': as it was); None
# where nothing explains its shape.
Resized = tuple['np.ndarray | None', str]


@dataclasses.dataclass(frozen=True)
class Import:
  """How a project's files hold weights that a family can use.

  Attributes:
    what: the files, for people: 'an image ViT in npz'.
    recognises: whether a file is one of them, by names and config alone.
    read: takes the file's arrays in this package's names; UserError for a file
      that is not what it seems.
  """

  what: str
  recognises: Callable[[File], bool]
  read: Callable[[File], Weights]


@dataclasses.dataclass(frozen=True)
class Published:
  """A row of the table of models: a variant and what its source says of it.

  Attributes:
    name: of the variant, as in its source.
    size: key of the family's sizes.
    options: that differ from the family's defaults.
    frames, crop: of the clip; None for the family's usual one.
    data: keys of the config's section data that its released weights need
      beside the family's own: mean, std, short_side, ...
    parameters: millions.
    gflops: billions of multiply-adds of one clip.
  """

  name: str
  size: str
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  frames: int | None = None
  crop: int | None = None
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  parameters: float | None = None
  gflops: float | None = None


def _nothing(*_) -> None:
  return None


@dataclasses.dataclass(frozen=True)
class Family:
  """Everything that the rest of the package may ask about a family.

  Attributes:
    name: value of the config key model.family.
    options: frozen dataclass of the family's own config keys; its
      `__post_init__` checks them.
    sizes: values of model.size, and what they stand for.
    size: the usual one; the first if empty.
    data: keys of the config's section data that its released weights need, the
      defaults of `config.default`: mean, std, crop, ...
    build: (config, class_token) -> backbone, a module whose call (video
      [B, T, H, W, 3], `blocks.Mode`) returns `pools.Encoded`;
      class_token says whether the pool reads one.
    grid: (options, frames, crop) -> t, h and w of a clip's tokens.
    layers: config -> `Layers`.
    title: for people; the name without underscores if empty.
    pool_sizes: config -> attention heads and MLP width of an attention pool.
    pools: values of model.pool; the first is the default.
    own_pools: those of them that are no key of `pools.POOLS`: config -> module,
      `pools.Encoded` to [B, D]; its parameters need `layers` rules.
    reads: those of `BUILD_KEYS` that it heeds; another one is refused. With
      'scan', its blocks are called `encoderblock_<i>`.
    check: raises a UserError for a config that cannot be built.
    check_clip: (options, frames, crop) -> None, or raises a UserError.
    clip: usual frames and pixels, for the table.
    resize: (pattern, function) pairs for arrays that depend on clip, crop,
      tubelet or window. A function is called for every array whose name the
      pattern fully matches, of equal shape too.
    imports: files that it can be read from, its own project's and those of the
      models that it can start from.
    starts_from: model that a source may be of -> (arrays, target) -> arrays in
      this family's names.
    binding: options that a checkpoint's weights were trained for: with another
      value they would compute something else.
    noted: options with which they would compute almost the same.
    frames_seen: (options, frames) -> how many frames of a clip are looked at.
    missing: (name, source, fresh arrays) -> why the source may lack an array.
    unused: (name, source, fresh arrays) -> why the target has no use for one.
    measure: arrays -> sizes read off them, by the options that set them.
    describe: arrays -> further lines of `checkpoints inspect`.
    exports: format -> (weights, clip) -> contents; `checkpoints.convert`.
    attention_flow: (captured, config, batch, grid, rows) -> `Rollout`; None
      where attention says nothing about places. `captured` are the outputs of
      modules named query and key, nested as the modules are.
    published: rows of the table.
  """

  name: str
  options: type
  sizes: Mapping[str, Any]
  build: Callable[[ModelConfig, bool], nn.Module]
  grid: Callable[[Any, int, tuple[int, int]], Grid]
  layers: Callable[[ModelConfig], Layers]
  size: str = ''
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  title: str = ''
  pool_sizes: Callable[[ModelConfig], tuple[int, int]] | None = None
  pools: Sequence[str] = ('mean',)
  own_pools: Mapping[str, Callable[[ModelConfig], nn.Module]] = (
    dataclasses.field(default_factory=dict)
  )
  reads: Sequence[str] = ()
  check: Callable[[ModelConfig], None] = _nothing
  check_clip: Callable[[Any, int, tuple[int, int]], None] = _nothing
  clip: tuple[int, int] = (32, 224)
  resize: Sequence[tuple[str, Callable[[Resizing], Resized]]] = ()
  imports: Sequence[Import] = ()
  starts_from: Mapping[str, Callable[[Mapping, Target], Mapping]] = (
    dataclasses.field(default_factory=dict)
  )
  binding: Sequence[str] = ()
  noted: Sequence[str] = ()
  frames_seen: Callable[[Any, int], int] = lambda options, frames: frames
  missing: Callable[[str, Weights, Mapping], str | None] = _nothing
  unused: Callable[[str, Weights, Mapping], str | None] = _nothing
  measure: Callable[[Mapping], Mapping[str, int]] = lambda arrays: {}
  describe: Callable[[Mapping], Mapping[str, str]] = lambda arrays: {}
  exports: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
  attention_flow: Callable[..., Rollout] | None = None
  published: Sequence[Published] = ()


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
  """Adds a family to the registry, or replaces one of the name; returns it.

  Raises:
    ValueError: the name of a family of this package, or pools that cannot be
      built.
  """
  there = _FAMILIES.get(family.name)
  package = __package__ + '.'
  if there and there.options.__module__.startswith(package):
    raise ValueError(f"there is a family '{family.name}' already")
  if not family.pools:
    raise ValueError(f'{family.name} names no pool')
  if 'attention' in family.pools and family.pool_sizes is None:
    raise ValueError(f'{family.name} has an attention pool, but no pool_sizes')
  _FAMILIES[family.name] = family
  return family


def unregister(name: str) -> None:
  """Removes a family, as a test does with its own."""
  del _FAMILIES[name]


def every() -> Mapping[str, Family]:
  """Returns all families by name."""
  for module in BUILT_IN:
    importlib.import_module(f'{__package__}.{module}')
  for module in filter(None, os.environ.get(MODULES, '').split(',')):
    try:
      importlib.import_module(module)
    except ImportError as error:
      raise UserError(
        f"{MODULES} names the module '{module}', which cannot be imported "
        f'({error}): put its folder on PYTHONPATH.'
      ) from None
  return _FAMILIES


def get(name: str) -> Family:
  """Returns a family.

  Raises:
    UserError: an unknown name.
  """
  families = every()
  if name not in families:
    raise UserError(
      f"model.family is '{name}'; it takes one of {', '.join(families)}."
      f'{nearest(str(name), families)} For a family of your own, set '
      f'{MODULES} to its module.'
    )
  return families[name]


def as_family(model: Mapping[str, Any], family: str) -> dict[str, Any]:
  """Returns the section `model` of a config, made another family's.

  Options that both families have keep their values where they differ from the
  old family's defaults; so does the size, if the new one has it.

  Raises:
    UserError: an unknown family.
  """
  new, old = get(family), get(model['family'])
  usual = dataclasses.asdict(old.options())
  options = {
    key: value
    for key, value in model['options'].items()
    if key in typed.keys(new.options) and value != usual.get(key)
  }
  size = model['size'] if model['size'] in new.sizes else None
  return {**model, 'family': family, 'size': size, 'options': options}


def owners(option: str) -> list[str]:
  """Returns the families that have an option."""
  return [
    name
    for name, family in every().items()
    if option in typed.keys(family.options)
  ]


def unknown_option(option: str, family: str | None = None) -> str:
  """Returns the sentence for an option that a family does not have.

  Args:
    option: without its section.
    family: None if it is not known.
  """
  whose = owners(option)
  if whose:
    of = f'; model.family is {family}' if family else ''
    return (
      f"config key 'model.options.{option}' belongs to {' and '.join(whose)}"
      f'{of}.'
    )
  known = (
    typed.keys(get(family).options)
    if family
    else sorted({k for f in every().values() for k in typed.keys(f.options)})
  )
  return (
    f"unknown config key 'model.options.{option}'; "
    + (f'{family} has {", ".join(known)}.' if family else 'no family has it.')
    + nearest(option, known)
  )

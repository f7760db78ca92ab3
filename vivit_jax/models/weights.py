"""Contents of checkpoint files: raw arrays, and arrays under our names."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

IMAGE_VIT = 'image ViT'  # of `Weights.models`
TORCH = 'safetensors', 'torch'  # containers of torch models


@dataclasses.dataclass(frozen=True)
class File:
  """An opened file of arrays from any project.

  Attributes:
    path: of the file.
    container: 'msgpack', 'npz', 'safetensors' or 'torch'.
    names: array names in the file.
    load: returns name -> array.
    layout: key path of the parameters in a msgpack ('optimizer/target') or
      file of torch ('model_state', 'the top level'), and what is not read.
    config: contents of config.json beside the file; empty if missing.
    preprocessor: the same for preprocessor_config.json.
    prefix: removed from all names: 'module.', 'model.' or both.
    extras: texts beside the parameters in a file of torch.
  """

  path: pathlib.Path
  container: str
  names: Sequence[str]
  load: Callable[[], dict[str, np.ndarray]]
  layout: str = ''
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  preprocessor: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  prefix: str = ''
  extras: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def title(self) -> str:
    """Container and place of the parameters, for messages."""
    parts = [self.layout, self.prefix and f'prefix {self.prefix}']
    where = ', '.join(filter(None, parts))
    return f'{self.container} ({where})' if where else self.container


@dataclasses.dataclass(frozen=True)
class Weights:
  """A checkpoint's parameters under this package's names.

  A field has its default if the file does not state the value.

  Attributes:
    format: file format, for messages.
    arrays: by flat name, layers unstacked:
      'Transformer/encoderblock_0/LayerNorm_0/scale'.
    models: candidates for the model: family names, or names of image models
      (`IMAGE_VIT`), from which families are initialised.
    label_names: head -> class names, in the order of outputs.
    multi_label: heads with any number of labels per video.
    grid: token grid (t, h, w) of the positions.
    options: values of model.options.
    experiment: config sections 'model' and 'data'.
    obstacle: why there is no `experiment`, although the file states one.
    pool: `builder.pool_settings`; only checkpoints of this package state it.
    readings: (options, weights) pairs: alternatives to use if the target has
      these options.
    spare: names of arrays that do not affect classification.
    notes: messages for the user.
    step: training step.
    averaged: whether these are the moving average of the weights.
    heads_unknown: whether nothing states the attention heads. The arrays have
      one head, which `resize.split_heads` splits.
  """

  format: str
  arrays: Mapping[str, np.ndarray]
  models: Sequence[str] = ()
  label_names: Mapping[str, list[str]] | None = None
  multi_label: Sequence[str] = ()
  grid: tuple[int, int, int] | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  experiment: Mapping[str, Any] | None = None
  obstacle: str = ''
  pool: Mapping[str, Any] | None = None
  readings: Sequence[tuple[Mapping[str, Any], Weights]] = ()
  spare: Sequence[str] = ()
  notes: Sequence[str] = ()
  step: int | None = None
  averaged: bool = False
  heads_unknown: bool = False

  @property
  def title(self) -> str:
    """The candidate models, for messages."""
    return ' or '.join(self.models)


@dataclasses.dataclass(frozen=True)
class Clip:
  """A model's input, for export to other projects' formats.

  Attributes:
    frames: frames that the model reads.
    crop: height and width, in pixels.
    short_side: of the resized video before the crop, in pixels.
    mean, std: per channel, for pixels in [0, 1].
  """

  frames: int = 32
  crop: tuple[int, int] = (224, 224)
  short_side: int = 256
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)

"""Contents of checkpoint files: raw arrays, and arrays under our names."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

IMAGE_VIT = 'image ViT'  # of `Weights.models`


@dataclasses.dataclass(frozen=True)
class File:
  """A file of arrays from any project.

  Attributes:
    path: of the file.
    container: 'msgpack', 'npz' or 'safetensors'.
    names: of the arrays, as in the file.
    load: reads the arrays by name.
    layout: where the parameters are in the file, if that is known.
    config: contents of config.json beside the file; empty if it is missing.
    preprocessor: contents of preprocessor_config.json, likewise.
  """

  path: pathlib.Path
  container: str
  names: Sequence[str]
  load: Callable[[], dict[str, np.ndarray]]
  layout: str = ''
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  preprocessor: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Weights:
  """A checkpoint's parameters under this package's names.

  Fields that the file does not state have their defaults.

  Attributes:
    format: of the file, for messages.
    arrays: by flat name, layers unstacked:
      'Transformer/encoderblock_0/LayerNorm_0/scale'.
    models: candidates for the model: names of families, or of image models
      that families are initialised from (`IMAGE_VIT`).
    label_names: class names of each head.
    grid: token grid (t, h, w) that the positions are for.
    options: of the family.
    experiment: config sections 'model' and 'data', if the file states how the
      model is used.
    pool: of the model; only this package's checkpoints state it.
    readings: alternatives that depend on the target's options: (options,
      weights) pairs.
    spare: arrays that the project's model does not use for classification.
    notes: for the user.
    step: of the training.
    averaged: whether these are the moving average of the weights.
  """

  format: str
  arrays: Mapping[str, np.ndarray]
  models: Sequence[str] = ()
  label_names: Mapping[str, list[str]] | None = None
  grid: tuple[int, int, int] | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  experiment: Mapping[str, Any] | None = None
  pool: str | None = None
  readings: Sequence[tuple[Mapping[str, Any], Weights]] = ()
  spare: Sequence[str] = ()
  notes: Sequence[str] = ()
  step: int | None = None
  averaged: bool = False

  @property
  def title(self) -> str:
    """The candidate models, for messages."""
    return ' or '.join(self.models)


@dataclasses.dataclass(frozen=True)
class Clip:
  """Input of a model, for export to other projects' formats.

  Attributes:
    frames: number of frames that the model reads.
    crop: height and width, in pixels.
    short_side: of the resized video before the crop, in pixels.
    mean, std: per channel, for pixels in [0, 1].
  """

  frames: int = 32
  crop: tuple[int, int] = (224, 224)
  short_side: int = 256
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)

"""What a checkpoint's file holds, before and after its model is known."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

IMAGE_VIT = 'image ViT'


@dataclasses.dataclass(frozen=True)
class File:
  """A file of arrays, of any project.

  Attributes:
    path: of the file.
    container: 'msgpack', 'npz' or 'safetensors'.
    names: of the arrays, in the file's own naming.
    load: reads the arrays, by their names.
    layout: where in the file the parameters were, if that is known.
    config: of config.json beside the file; empty if there is none.
    preprocessor: of preprocessor_config.json beside it; empty likewise.
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
  """A checkpoint's parameters, in this package's names.

  Attributes:
    format: what the file is, for people.
    arrays: 'Transformer/encoderblock_0/LayerNorm_0/scale' -> array; layers one
      by one.
    models: what the arrays may be of: names of families, or of image models
      that families start from (`IMAGE_VIT`).
    label_names: of each head, where the file has them.
    grid: t, h and w of its tokens, where the file has them.
    options: of its family, as far as the file has them.
    experiment: keys of config sections 'model' and 'data', where the file says
      by itself how the model is used.
    pool: of its model, where the file has it.
    readings: what the same arrays are in a model with certain options, where
      the file alone does not tell: (options, weights) pairs.
    spare: arrays that the project's own model does not use for classification.
    notes: for the user of the import.
    step: of the training, where the file has it.
    averaged: whether these are the moving average of the training's weights.
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
    """The model in words; several where the arrays do not tell."""
    return ' or '.join(self.models)

  def fault(self) -> str | None:
    """Returns why these arrays cannot be parameters, or None."""
    for name, array in self.arrays.items():
      if not jnp.issubdtype(array.dtype, jnp.floating) or not array.size:
        return f'{name} is {array.dtype} of shape {array.shape}, not floats'
    return None


@dataclasses.dataclass(frozen=True)
class Clip:
  """What a model sees of a video, for other projects' files.

  Attributes:
    frames: of a clip, as many as the model looks at.
    crop: height and width, in pixels.
    short_side: pixels that a video is resized to before the crop.
    mean, std: of the colours, of pixels in [0, 1].
  """

  frames: int = 32
  crop: tuple[int, int] = (224, 224)
  short_side: int = 256
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)

"""A model with its weights, its labels and its pixel preprocessing."""

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vivit_jax import models
from vivit_jax.checkpoints import names
from vivit_jax.config import TrainConfig
from vivit_jax.models import stacking

# Where the class order comes from.
OWN_ORDER = "the checkpoint's"
CONFIGS_ORDER = 'config.class_order'
ASSUMED_ORDER = "assumed: the dataset's"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """A model with its weights, and how to use it.

  Attributes:
    name: of the checkpoint, for people.
    config: what the model is, and how clips are made of videos.
    params: nested, layers one by one, on the host.
    label_names: of each head, in the order of the outputs.
    multi_label: heads of which a video may have any number of labels.
    step: of the run; None for a checkpoint without one.
    class_order: where the class order comes from.
    averaged: whether the parameters are the moving average of the training's.
  """

  name: str
  config: TrainConfig
  params: Any
  label_names: Mapping[str, list[str]]
  multi_label: Collection[str] = ()
  step: int | None = None
  class_order: str = OWN_ORDER
  averaged: bool = False

  @functools.cached_property
  def model(self) -> nn.Module:
    """The Flax module; its parameters are `stacked`."""
    return models.build(self.config.model)

  @property
  def stacked(self) -> Any:
    """Parameters as `model` takes them: layers stacked with model.scan."""
    scan = self.config.model.scan
    return stacking.stack(self.params) if scan else self.params

  @property
  def preprocessing(self) -> dict[str, Any]:
    """How pixels become what the model sees.

    `frames` of a clip, every `stride`-th one of the video, or instead at
    `frames_per_second`; a short side of `short_side` pixels, of which `crop`
    (height, width) is cut; (x / 255 - `mean`) / `std`.
    """
    data = self.config.data
    return {
      'frames': data.frames,
      'stride': None if data.frames_per_second else data.stride,
      'frames_per_second': data.frames_per_second,
      'short_side': data.short_side,
      'crop': tuple(data.crop),
      'mean': tuple(data.mean),
      'std': tuple(data.std),
    }

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of all parameters: their names, types, shapes and bytes.

    The same weights have the same digest, whatever file they are read from.
    """
    total = hashlib.sha256()
    for name, array in sorted(names.flatten(self.params)):
      total.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return total.hexdigest()

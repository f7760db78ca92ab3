"""A model with its weights, labels and preprocessing."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn

from vivit_jax import models
from vivit_jax.checkpoints import names
from vivit_jax.config import TrainConfig
from vivit_jax.data import frame_numbers
from vivit_jax.models import stacking

# Where the class order comes from.
OWN_ORDER = "the checkpoint's"
CONFIG_ORDER = 'config.class_order'
GIVEN_ORDER = 'class_order of the call'
ASSUMED_ORDER = "assumed: the dataset's"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """A model with its weights, labels and preprocessing."""

  name: str  # of the checkpoint, for messages
  config: TrainConfig  # of the model and its clips, heads included
  params: Any  # nested dicts of host arrays, blocks unstacked
  label_names: Mapping[str, list[str]]  # head -> class names, in output order
  multi_label: Collection[str] = ()  # heads with several labels per video
  step: int | None = None  # of training, if known
  class_order: str = OWN_ORDER  # where the class order comes from
  averaged: bool = False  # whether `params` are a moving average (`train.ema`)

  @functools.cached_property
  def model(self) -> nn.Module:
    """The Flax module; call it with the parameters `stacked`."""
    return models.build(self.config.model)

  @property
  def stacked(self) -> Any:
    """Parameters for `model`: blocks are stacked if model.scan is set."""
    scan = self.config.model.scan
    return stacking.stack(self.params) if scan else self.params

  @property
  def preprocessing(self) -> dict[str, Any]:
    """Preprocessing parameters.

    A clip has `frames` frames. With the `sampling` 'clip', these are every
    `stride`-th frame of the video, or `frames_per_second` of them. Other values
    are defined in docs/input.md. Frames are resized to a short side of
    `short_side` pixels, cropped to `crop` (height, width), put into the order
    of `channels`, and normalised: (x / 255 - `mean`) / `std`.
    """
    data = self.config.data
    return {
      'frames': data.frames,
      'sampling': data.sampling,
      'stride': frame_numbers.stride_used(data),
      'frames_per_second': data.frames_per_second,
      'short_side': data.short_side,
      'crop': tuple(data.crop),
      'channels': data.channels,
      'mean': tuple(data.mean),
      'std': tuple(data.std),
    }

  @functools.cached_property
  def digest(self) -> str:
    """See `names.digest`; independent of the file format."""
    return names.digest(self.params)

"""What flags of an evaluation change of a config."""

import dataclasses
import re
from typing import Any

from vivit_jax import config as configs
from vivit_jax.config import DataConfig, TrainConfig
from vivit_jax.errors import UserError


def override(
  config: TrainConfig,
  *,
  split: str | None = None,
  views: str | None = None,
  crop: str | None = None,
  short_side: int | None = None,
  frames: int | None = None,
  stride: int | None = None,
  average: str | None = None,
  batch_size: int | None = None,
  data_dir: str | None = None,
  short_videos: str | None = None,
  ema: bool | None = None,
) -> TrainConfig:
  """Returns the config with what the flags ask for; None changes nothing.

  Args:
    config: of the run or experiment.
    split: to score.
    views: temporal x spatial, '4x3'.
    crop: what the model sees, in pixels: '256', or height x width, '256x320'.
    short_side: that videos are resized to before the crop is cut, in pixels.
    frames: of a clip.
    stride: frames of a video from one of a clip to the next.
    average: 'logits' or 'probabilities'.
    batch_size: videos at a time.
    data_dir, short_videos: of the config's section `data`.
    ema: score the averaged weights, if there are any.

  Raises:
    UserError: values that do not fit.
  """
  evaluation = {
    'split': split,
    'average': average,
    'batch_size': batch_size,
    'ema': ema,
  }
  if views is not None:
    match = re.fullmatch(r'(\d+)x(\d+)', views)
    if not match:
      raise UserError(
        f"--views is '{views}'; it takes temporal x spatial views, e.g. 4x3."
      )
    evaluation |= dict(
      temporal_views=int(match[1]), spatial_crops=int(match[2])
    )
  data = {
    'data_dir': data_dir,
    'short_videos': short_videos,
    'frames': frames,
    'stride': stride,
  }
  data |= _sizes(config.data, crop, short_side)
  config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, **_given(data)),
    evaluation=dataclasses.replace(config.evaluation, **_given(evaluation)),
  )
  if stride is not None:  # it would not count
    data = dataclasses.replace(config.data, frames_per_second=None)
    config = dataclasses.replace(config, data=data)
  configs.check(config)
  return config


def _given(values: dict[str, Any]) -> dict[str, Any]:
  return {key: value for key, value in values.items() if value is not None}


def _sizes(
  data: DataConfig, crop: str | None, short_side: int | None
) -> dict[str, Any]:
  """Returns the keys of `data` that --crop and --short_side change."""
  if crop is None and short_side is None:
    return {}
  size = data.crop
  if crop is not None:
    match = re.fullmatch(r'(\d+)(?:x(\d+))?', crop)
    if not match:
      raise UserError(
        f"--crop is '{crop}'; it takes pixels, e.g. 256, or height x width, "
        'e.g. 256x320.'
      )
    size = int(match[1]), int(match[2] or match[1])
  side = data.short_side if short_side is None else short_side
  if min(size) > side:
    raise UserError(
      f'a crop of {size[0]} x {size[1]} pixels does not fit in videos of a '
      f'short side of {side}: give --short_side={min(size)} or more.'
    )
  # Jitter is of training alone, and would count in the checks of the crop.
  return {'crop': size, 'short_side': side, 'scale_jitter': (1.0, 1.0)}

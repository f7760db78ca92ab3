"""Applies flags of evaluation and prediction to a config."""

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
  sampling: str | None = None,
  views_from: str | None = None,
  average: str | None = None,
  batch_size: int | None = None,
  data_dir: str | None = None,
  short_videos: str | None = None,
  ema: bool | None = None,
) -> TrainConfig:
  """Returns the config with flags applied; None leaves a value unchanged.

  Args:
    config: of the run.
    split: split to evaluate.
    views: number of temporal x spatial views: '4x3'.
    crop: the model's input in pixels: '256', or height x width, '256x320'.
    short_side: of the resized video before the crop, in pixels.
    frames: frames per clip.
    stride: step between frames of a clip, in frames of the video; replaces
      frames_per_second.
    sampling: 'clip', 'span', 'segments' or 'whole', see `data.frame_numbers`;
      the last two replace frames_per_second.
    views_from: where the clips of a video begin, see `EvaluationConfig`.
    average: what to average over views: 'logits' or 'probabilities'.
    batch_size: videos per batch.
    data_dir, short_videos: values of config section `data`.
    ema: whether to use the averaged weights, if the checkpoint has them.

  Raises:
    UserError: invalid values.
  """
  data = {
    'data_dir': data_dir,
    'short_videos': short_videos,
    'frames': frames,
    'stride': stride,
    'sampling': sampling,
    **_sizes(config.data, crop, short_side),
  }
  evaluation = {
    'split': split,
    'views_from': views_from,
    'average': average,
    'batch_size': batch_size,
    'ema': ema,
  }
  if views is not None:
    temporal, spatial = parse_views(views)
    evaluation |= {'temporal_views': temporal, 'spatial_crops': spatial}
  data, evaluation = (
    {key: value for key, value in section.items() if value is not None}
    for section in (data, evaluation)
  )
  changed = dataclasses.replace(config.data, **data)
  if stride is not None and changed.is_spread:
    raise UserError(
      f"--stride is {stride}, but data.sampling is '{changed.sampling}', which "
      'spreads the frames over the whole video: leave --stride out, or set '
      '--sampling=clip or span.'
    )
  if stride is not None or changed.is_spread:  # it would take precedence
    changed = dataclasses.replace(changed, frames_per_second=None)
  config = dataclasses.replace(
    config,
    data=changed,
    evaluation=dataclasses.replace(config.evaluation, **evaluation),
  )
  configs.check(config)
  return config


def parse_views(text: str) -> tuple[int, int]:
  """Returns the numbers of temporal and spatial views in '4x3'."""
  match = re.fullmatch(r'([1-9]\d*)x([13])', str(text))
  if not match:
    raise UserError(
      f"--views is '{text}'; it takes temporal x spatial views, such as 4x3, "
      'with 1 or 3 spatial views.'
    )
  return int(match[1]), int(match[2])


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
      f'--crop of {size[0]} x {size[1]} exceeds the short side of {side}: set '
      f'--short_side={min(size)} or more.'
    )
  # Jitter is not used here, but the config's check of the crop includes it.
  return {'crop': size, 'short_side': side, 'scale_jitter': (1.0, 1.0)}

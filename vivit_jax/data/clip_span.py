"""How many video frames a clip spans; UserError for videos too short."""

import numpy as np

from vivit_jax.config import DataConfig
from vivit_jax.data import frame_numbers
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError


def stride_of(split: VideoSplit, data: DataConfig, video: int) -> float:
  """Returns the step between frames of a clip, in frames of the video."""
  if data.frames_per_second is None:
    return data.stride
  return split.frame_rates[video] / data.frames_per_second


def strides(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns the stride of a clip in each video, float [n]."""
  if data.frames_per_second is None:
    return np.full(len(split), float(data.stride))
  unknown = np.flatnonzero(~(split.frame_rates > 0))
  if len(unknown):
    raise UserError(
      f'data.frames_per_second is {data.frames_per_second}, but {len(unknown)} '
      f"videos have an unknown rate ('{split.ids[unknown[0]]}'): use "
      'data.stride instead.'
    )
  return split.frame_rates / data.frames_per_second


def _spans(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns how many frames a clip spans in each video, int [n]."""
  unique, inverse = np.unique(strides(split, data), return_inverse=True)
  spans = [frame_numbers.span(data, stride) for stride in unique]
  return np.asarray(spans, np.int64)[inverse]


def check_lengths(split: VideoSplit, data: DataConfig) -> None:
  """Refuses short videos, if `data.short_videos` is 'refuse'."""
  needed = _spans(split, data)
  short = np.flatnonzero(split.frame_counts < needed)
  if data.short_videos == 'refuse' and len(short):
    first = short[0]
    raise UserError(
      f'{len(short)} of {len(split)} videos are shorter than a clip of '
      f'{data.frames} frames{frame_numbers.pace(data)}, which spans '
      f"{needed[first]}: '{split.ids[first]}' has "
      f'{split.frame_counts[first]} frames. Reduce '
      "data.frames or the stride, or set data.short_videos to 'loop' or 'hold' "
      '(evaluate.py: --short_videos).'
    )


def check_views(
  split: VideoSplit, data: DataConfig, views: int, views_from: str
) -> None:
  """Checks that the longest video has distinct clips for all views."""
  possible = frame_numbers.distinct_views(
    split.frame_counts, _spans(split, data), data, views_from
  )
  limit = int(possible.max(initial=1))
  if views > limit:
    longest = split.frame_counts[np.argmax(possible)]
    raise UserError(
      f'evaluation.temporal_views is {views}, but the longest video, of '
      f'{longest} frames, has only {limit} distinct clips of {data.frames} '
      f'frames{frame_numbers.pace(data)}: set it (evaluate.py: --views) to at '
      f'most {limit}.'
    )

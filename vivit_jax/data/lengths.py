"""How far clips reach over their videos, and which videos are too short."""

import numpy as np

from vivit_jax.config import DataConfig
from vivit_jax.data import sampling
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError


def stride_of(split: VideoSplit, data: DataConfig, video: int) -> float:
  """Returns frames of a video from one of a clip to the next."""
  if data.frames_per_second is None:
    return data.stride
  return split.rates[video] / data.frames_per_second


def strides(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns frames of each video from one of a clip to the next, float [n].

  Raises:
    UserError: frames a second are asked for, and a video's own are not known.
  """
  if data.frames_per_second is None:
    return np.full(len(split), float(data.stride))
  unknown = np.flatnonzero(~(split.rates > 0))
  if len(unknown):
    raise UserError(
      f'data.frames_per_second is {data.frames_per_second}, but the frame rate '
      f"of {len(unknown)} videos is not known ('{split.ids[unknown[0]]}'): use "
      'data.stride instead.'
    )
  return split.rates / data.frames_per_second


def _spans(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns how many frames of each video a clip reaches over, int [n]."""
  of_each, inverse = np.unique(strides(split, data), return_inverse=True)
  spans = [sampling.span(data.frames, stride) for stride in of_each]
  return np.asarray(spans, np.int64)[inverse]


def check_lengths(split: VideoSplit, data: DataConfig) -> None:
  """Raises a UserError where videos are shorter than a clip and must not be."""
  needed = _spans(split, data)
  short = np.flatnonzero(split.frame_counts < needed)
  if data.short_videos == 'refuse' and len(short):
    first = short[0]
    raise UserError(
      f'{len(short)} of {len(split)} videos are shorter than a clip of '
      f'{data.frames} frames {_pace(data)}, which reaches over '
      f"{needed[first]}: '{split.ids[first]}' has {split.frame_counts[first]} "
      'frames. Take fewer data.frames, closer together, or let '
      "data.short_videos be 'loop' or 'hold' (--short_videos of "
      'evaluate.py).'
    )


def check_views(split: VideoSplit, data: DataConfig, views: int) -> None:
  """Raises a UserError where even the longest video repeats views."""
  rooms = split.frame_counts - _spans(split, data) + 1
  room = max(1, int(rooms.max(initial=1)))
  if views > room:
    longest = split.frame_counts[np.argmax(rooms)]
    raise UserError(
      f'{views} temporal views are asked for, but the longest video has '
      f'{longest} frames, room for {room} different clips of {data.frames} '
      f'frames {_pace(data)}: set evaluation.temporal_views, or --views of '
      f'evaluate.py, to at most {room}.'
    )


def _pace(data: DataConfig) -> str:
  if data.frames_per_second is None:
    return f'at stride {data.stride}'
  return f'at {data.frames_per_second:g} a second'

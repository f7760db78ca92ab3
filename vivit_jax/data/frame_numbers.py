"""Frame numbers of training clips and evaluation views, by `data.sampling`.

- clip: every `data.stride`-th frame.
- span: T frames spread over T x `data.stride` frames, as in SlowFast's loader.
- segments: one frame of each of T equal segments of the video, as in TSN (Wang
  et al., arXiv 1608.00859), with the bounds of SlowFast's loader.
- whole: T evenly spaced frames from the first to the last of the video, as in
  STAM and transformers' tutorials.

Only 'clip' and 'span' have a stride, and videos that are too short. The others
repeat frames of a video that has fewer than T. docs/input.md has the formulas.

With `data.clips`, the T frames are those of several clips, each sampled so from
one of as many equal parts of the video, as in V-JEPA 2's probes.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from vivit_jax.config import DataConfig

# Added before rounding down: what is whole but for rounding errors stays whole.
_ROUNDING = 1e-6  # frames


def random_frames(
  available: int, data: DataConfig, stride: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns the frame numbers of a training clip, int64 [T].

  Args:
    available: number of frames in the video.
    data: how clips are cut.
    stride: step between frames of a 'clip' or 'span', in frames of the video;
      may be a fraction.
    rng: draws the frames; 'whole' is not random.
  """
  if data.clips > 1:
    return _of_parts(available, data, random_frames, stride, rng)
  match data.sampling:
    case 'clip':
      start = rng.integers(max(1, available - span(data, stride) + 1))
      numbers = start + _offsets(data.frames, stride)
      return _within(numbers, available, data)
    case 'span':
      start = rng.uniform(0, max(0, available - data.frames * stride))
      return _spans(np.array([start]), available, data, stride)[0]
    case 'segments':
      bounds = _bounds(available, data.frames)
      return rng.integers(bounds[:-1], bounds[1:], endpoint=True)
    case 'whole':
      return _spread(available, data.frames, views=1)[0]


def uniform_frames(
  available: int,
  data: DataConfig,
  stride: float,
  views: int,
  views_from: str = 'middle',
) -> np.ndarray:
  """Returns the frame numbers of a video's views, int64 [views, T].

  Args:
    available, data, stride: as in `random_frames`.
    views: number of views.
    views_from: of a 'clip' or 'span'. 'middle': the first view begins with the
      video, and the last one ends with it; a single view is centred (paper,
      section 4.1, as in the reference). 'start': view k begins at k / views of
      the last possible start, as in SlowFast. 'parts': at (k + 1/2) / views of
      it, as in mmcv's Video Swin.
  """
  if data.clips > 1:
    return _of_parts(available, data, uniform_frames, stride, views, views_from)
  match data.sampling:
    case 'clip':
      starts = _starts(available - span(data, stride), views, views_from)
      nearest = views > 1 and views_from == 'middle'
      starts = np.round(starts) if nearest else np.floor(starts)
      starts = starts.astype(np.int64)[:, None]
      return _within(starts + _offsets(data.frames, stride), available, data)
    case 'span':
      last = available - data.frames * stride
      starts = _starts(last, views, views_from)
      if views > 1 and views_from == 'middle':  # as SlowFast's MViT
        starts = np.arange(views) * np.floor(starts[1])
      return _spans(starts, available, data, stride)
    case 'segments':
      bounds = _bounds(available, data.frames)
      offsets = 2 * np.arange(views)[:, None] + 1
      return bounds[:-1] + offsets * np.diff(bounds) // (2 * views)
    case 'whole':
      return _spread(available, data.frames, views)


def _of_parts(
  available: int, data: DataConfig, sample: Callable[..., np.ndarray], *more
) -> np.ndarray:
  """Returns the frames of `sample` from each part of a video, concatenated."""
  part = max(available // data.clips, 1)
  one = dataclasses.replace(data, clips=1, frames=data.frames // data.clips)
  numbers = [n * part + sample(part, one, *more) for n in range(data.clips)]
  return np.minimum(np.concatenate(numbers, axis=-1), available - 1)


def _offsets(frames: int, stride: float) -> np.ndarray:
  return np.floor(stride * np.arange(frames) + 0.5).astype(np.int64)


def _starts(last: float, views: int, views_from: str) -> np.ndarray:
  """Returns the starts of clips, real, of which `last` is the last possible."""
  last = max(0, last)
  if views_from in ('start', 'parts'):
    first = 0.5 if views_from == 'parts' else 0.0
    return last * (np.arange(views) + first) / views
  return np.linspace(0, last, views) if views > 1 else np.array([last / 2])


def _spans(
  starts: np.ndarray, available: int, data: DataConfig, stride: float
) -> np.ndarray:
  """Returns the frames of spans with these starts, int64 [views, T]."""
  offsets = np.linspace(0, max(0, data.frames * stride - 1), data.frames)
  numbers = np.floor(starts[:, None] + offsets + _ROUNDING).astype(np.int64)
  return _within(numbers, available, data)


def _within(
  numbers: np.ndarray, available: int, data: DataConfig
) -> np.ndarray:
  """Holds the last frame of a short video, or restarts the video."""
  if data.short_videos == 'hold':
    return np.minimum(numbers, available - 1)
  return numbers % available


def _bounds(available: int, segments: int) -> np.ndarray:
  """Returns the bounds of equal segments, int64 [segments + 1]."""
  length = max(available - 1, 0) / segments
  return np.round(length * np.arange(segments + 1)).astype(np.int64)


def _spread(available: int, frames: int, views: int) -> np.ndarray:
  """Returns floor(linspace(0, available - 1)), dealt out, [views, frames].

  In integers: rounding in floating point would move some frames by one.
  """
  count = views * frames
  numbers = np.arange(count) * max(available - 1, 0) // max(count - 1, 1)
  return numbers.reshape(frames, views).T


def span(data: DataConfig, stride: float) -> int:
  """Returns how many frames a video needs, so that none is repeated or looped.

  1 if clips are spread over the whole video: these never loop.
  """
  if data.is_spread:
    return 1
  frames = data.frames // data.clips
  if data.sampling == 'span':
    return data.clips * max(1, math.floor(frames * stride + _ROUNDING))
  return data.clips * (int(_offsets(frames, stride)[-1]) + 1)


def fitting_clips(available: int, data: DataConfig, stride: float) -> int:
  """Returns how many clips fit one after another into a video, at least 1."""
  if data.is_spread:
    return 1
  return max(1, available // span(data, stride))


# Value of evaluation.views_from -> words that follow 'views' or 'clips'.
WHERE = {
  'middle': '',
  'start': ' from the start',
  'parts': ' in the middle of equal parts of the video',
}


def distinct_views(
  available: np.ndarray,
  spans: np.ndarray,
  data: DataConfig,
  views_from: str = 'middle',
) -> np.ndarray:
  """Returns how many views of each video differ, int [n]; at least 1.

  `available` and `spans` are the frames and the `span` of each, int [n].
  """
  if data.is_spread:
    return np.maximum(available // data.frames, 1)
  # Only views from the 'middle' may begin at the last possible frame.
  starts = available - spans + (views_from == 'middle')
  return np.maximum(starts, 1)


def describe(
  sampling: str, stride: float | None, frames_per_second: float | None
) -> str:
  """Returns how a clip's frames are spaced, to follow '32 frames'."""
  match sampling:
    case 'segments':
      return ', one per segment of the whole video'
    case 'whole':
      return ', evenly spaced over the whole video'
  spread = ', spread over their span' if sampling == 'span' else ''
  if frames_per_second:
    return f' at {frames_per_second:g} frames per second{spread}'
  return f' at stride {stride}{spread}'


def stride_used(data: DataConfig) -> int | None:
  """Returns `data.stride`; None if another key determines a clip's frames."""
  unused = data.frames_per_second or data.is_spread
  return None if unused else data.stride


def pace(data: DataConfig) -> str:
  """Returns how a clip's frames are spaced, to follow '32 frames'."""
  clips = f' of {data.clips} clips' if data.clips > 1 else ''
  return clips + describe(data.sampling, data.stride, data.frames_per_second)

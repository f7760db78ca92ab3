"""Cuts the views of a video or of sliding windows, as in evaluation.

Frames are decoded one by one, and only the crops that clips need are kept. So
memory does not grow with the length of a video.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator

import einops
import numpy as np

from vivit_jax.config import DataConfig
from vivit_jax.data import frame_numbers, sampling
from vivit_jax.errors import UserError
from vivit_jax.inference.videos import Video

Views = tuple[int, int]  # number of temporal views and of spatial crops


@dataclasses.dataclass(frozen=True)
class WindowClips:
  """Clips, uint8 [V, T, H, W, 3], of a window from `start` to `end` seconds."""

  start: float
  end: float
  clips: np.ndarray


def stride_of(video: Video, data: DataConfig) -> float:
  """Returns the distance between frames of a clip, in frames of the video.

  Raises:
    UserError: `data.frames_per_second` is set, but the video's rate is unknown.
  """
  if data.frames_per_second is None:
    return data.stride
  if not video.rate:
    raise UserError(
      f'data.frames_per_second is {data.frames_per_second:g}, but the frame '
      f'rate of {video.name} is unknown: pass frames_per_second.'
    )
  return video.rate / data.frames_per_second


def seconds_between_frames(video: Video, data: DataConfig) -> float | None:
  """Returns the time between frames of a clip; None if unknown."""
  if not video.rate:
    return None
  if frame_numbers.is_spread(data):
    return video.count / data.frames / video.rate or None
  return stride_of(video, data) / video.rate


def cut_views(video: Video, data: DataConfig, views: Views) -> np.ndarray:
  """Returns all views of a video as in evaluation.

  The video is decoded once, or again if its container reports a wrong number of
  frames.

  Returns:
    uint8 [V, T, H, W, 3]; view = temporal * crops + crop.

  Raises:
    UserError: the video cannot be read, or is shorter than a clip.
  """
  stride = stride_of(video, data)
  span = frame_numbers.span(data, stride)
  count = video.count
  if count < span:
    count = _count_frames(video)  # the container may report too few
  while True:
    if data.short_videos == 'refuse' and count < span:
      raise UserError(
        f'{video.name} has {count} frames, and a clip spans {span}: '
        '--short_videos=loop repeats the video, --short_videos=hold its last '
        'frame.'
      )
    numbers = frame_numbers.uniform_frames(count, data, stride, views[0])
    cutter, decoded = _Cutter(numbers, data, views[1]), 0
    for number, image in enumerate(video.decode()):
      cutter.add(number, image)
      decoded = number + 1
    if decoded == count:
      return cutter.clips()
    count = decoded


def check_seconds(window: float | None, stride: float | None) -> None:
  """Raises a UserError for a window or stride that is no time above 0."""
  for name, seconds in (('window', window), ('window stride', stride)):
    if seconds is not None and not 0 < seconds < math.inf:
      raise UserError(f'the {name} is {seconds:g} seconds; set it above 0.')


def window_clips(
  video: Video,
  data: DataConfig,
  views: Views | None,
  window: float | None,
  stride: float | None,
) -> Iterator[WindowClips]:
  """Yields the clips of windows that slide over a video.

  The last window ends with the video. A video shorter than `window` is one
  window.

  Args:
    video: decoded once, or again if its container reports a wrong number of
      frames.
    data: how clips are cut.
    views: per window; None for as many centre-crop clips as fit into it.
    window: in seconds; None for the length of a clip. Frames that are spread
      over the whole video (`data.sampling`) are spread over the window.
    stride: seconds between the starts of windows; None for `window`.

  Raises:
    UserError: invalid seconds, the video cannot be read, its frame rate is
      unknown, a window is shorter than a clip or has no length, or the stride
      is less than a frame.
  """
  check_seconds(window, stride)
  rate = video.rate
  if not rate:
    raise UserError(
      f'the frame rate of {video.name} is unknown, and windows are in seconds: '
      'pass frames_per_second.'
    )
  if window is None and frame_numbers.is_spread(data):
    raise UserError(
      f"data.sampling is '{data.sampling}', which spreads the frames over a "
      'whole window: set --window to its seconds, about as long as the videos '
      'in training.'
    )
  clip_stride = stride_of(video, data)
  span = frame_numbers.span(data, clip_stride)
  length = span if window is None else round(window * rate)
  hop = length if stride is None else stride * rate
  if length < span:
    raise UserError(
      f'a window of {window:g} seconds has {length} frames of {video.name}, '
      f'and a clip spans {span}: use at least {span / rate:.2f} seconds.'
    )
  if hop < 1:
    raise UserError(
      f'a window stride of {stride:g} seconds is less than a frame of '
      f'{video.name}: use at least {1 / rate:.3f} seconds.'
    )

  def whole(count: int) -> WindowClips:
    every = views or (frame_numbers.fitting_clips(count, data, clip_stride), 1)
    return WindowClips(0.0, count / rate, cut_views(video, data, every))

  count = video.count
  if count < length and (count := _count_frames(video)) < length:
    yield whole(count)
    return
  fitting = frame_numbers.fitting_clips(length, data, clip_stride)
  temporal, spatial = views or (fitting, 1)
  numbers = frame_numbers.uniform_frames(length, data, clip_stride, temporal)
  starts = _starts(count, length, hop)
  start = next(starts)
  unfinished: collections.deque[tuple[int, _Cutter]] = collections.deque()
  end = decoded = 0
  for number, image in enumerate(video.decode()):
    decoded = number + 1
    if number == start:
      unfinished.append((start, _Cutter(start + numbers, data, spatial)))
      start = next(starts)
    for _, cutter in unfinished:
      cutter.add(number, image)
    if unfinished and unfinished[0][0] + length == decoded:
      first, cutter = unfinished.popleft()
      end = decoded
      yield WindowClips(first / rate, end / rate, cutter.clips())
  if decoded < length:
    yield whole(decoded)
  elif end < decoded:  # the container reported a wrong number of frames
    first = decoded - length
    cutter = _Cutter(first + numbers, data, spatial)
    for number, image in enumerate(video.decode()):
      cutter.add(number, image)
    yield WindowClips(first / rate, decoded / rate, cutter.clips())


class _Cutter:
  """Fills clips while frames are decoded.

  Args:
    numbers: frame numbers of each temporal view, int [views, T].
    data: how clips are cut.
    spatial: number of crops of each temporal view.
  """

  def __init__(self, numbers: np.ndarray, data: DataConfig, spatial: int):
    self._numbers, self._short_side = numbers, data.short_side
    self._needed = frozenset(numbers.ravel().tolist())
    shape = (len(numbers), spatial, data.frames, *data.crop, 3)
    self._clips = np.zeros(shape, np.uint8)

  def add(self, number: int, image: np.ndarray) -> None:
    """Adds a frame, uint8 [H, W, 3], to all clips that contain it."""
    if number in self._needed:
      sampling.add_frame(
        self._clips, self._numbers, number, image, self._short_side
      )

  def clips(self) -> np.ndarray:
    """Returns uint8 [V, T, H, W, 3]."""
    return einops.rearrange(self._clips, 'v s ... -> (v s) ...')


def _starts(count: int, length: int, hop: float) -> Iterator[int]:
  """Yields the first frame of each window, endlessly.

  One window ends at frame `count`. Later windows are for videos with more
  frames than their container reports.
  """
  previous, last = -1, count - length
  for index in itertools.count():
    start = round(index * hop)
    if previous < last < start:
      yield last
    yield start
    previous = start


def _count_frames(video: Video) -> int:
  return sum(1 for _ in video.decode())

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
  """The views of a window from `start` to `end` seconds.

  `clips` and `frame_numbers` are the results of `cut_views`; frame numbers
  count from the beginning of the video.
  """

  start: float
  end: float
  clips: np.ndarray
  frame_numbers: np.ndarray


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
      f'rate of {video.name} is unknown: set --frames_per_second.'
    )
  return video.rate / data.frames_per_second


def seconds_between_frames(video: Video, data: DataConfig) -> float | None:
  """Returns the time between frames of a clip; None if unknown."""
  if not video.rate:
    return None
  if data.is_spread:
    (numbers,) = frame_numbers.uniform_frames(video.count, data, 1.0, 1)
    frames = (numbers[-1] - numbers[0]) / max(len(numbers) - 1, 1)
    return float(frames) / video.rate or None
  stride = stride_of(video, data)
  if data.sampling == 'span':
    stride = (data.frames * stride - 1) / max(data.frames - 1, 1)
  return stride / video.rate


def cut_views(
  video: Video, data: DataConfig, views: Views, views_from: str = 'middle'
) -> tuple[np.ndarray, np.ndarray]:
  """Returns all views of a video as in evaluation.

  The video is decoded once, or again if its container reports a wrong number of
  frames. `views_from` is as in `EvaluationConfig`.

  Returns:
    Clips, uint8 [V, T, H, W, 3], where view = temporal * crops + crop; and each
    frame's number in the video, from 0, int32 [V, T].

  Raises:
    UserError: the video cannot be read, or is shorter than a clip.
  """
  count = video.count or 0
  if count < frame_numbers.span(data, stride_of(video, data)):
    count = _count_frames(video)  # the container may report too few
  while True:
    numbers = _view_numbers(video, data, count, views[0], views_from)
    crops, decoded = _Crops(data, views[1]), 0
    needed = frozenset(numbers.ravel().tolist())
    for number, image in enumerate(video.decode()):
      if number in needed:
        crops.add(number, image)
      decoded = number + 1
    if decoded == count:
      return crops.clips(numbers)
    count = decoded


def _view_numbers(
  video: Video, data: DataConfig, count: int, temporal: int, views_from: str
) -> np.ndarray:
  """Returns the frames of each temporal view of `count` frames, [views, T]."""
  stride = stride_of(video, data)
  span = frame_numbers.span(data, stride)
  if data.short_videos == 'refuse' and count < span:
    raise UserError(
      f'{video.name} has {count} frames, and a clip spans {span}: '
      '--short_videos=loop repeats the video, --short_videos=hold its last '
      'frame.'
    )
  return frame_numbers.uniform_frames(count, data, stride, temporal, views_from)


def check_seconds(
  window: float | None, stride: float | None, data: DataConfig | None = None
) -> None:
  """Raises a UserError for a window or stride that is no time above 0.

  With `data`, also for no window where frames are spread over the whole one.
  """
  for name, seconds in (('window', window), ('window stride', stride)):
    if seconds is not None and not 0 < seconds < math.inf:
      raise UserError(f'the {name} is {seconds:g} seconds; set it above 0.')
  if window is None and data is not None and data.is_spread:
    raise UserError(
      f"data.sampling is '{data.sampling}', which spreads the frames over a "
      'whole window: set --window to its seconds, about as long as the videos '
      'in training.'
    )


def window_clips(
  video: Video,
  data: DataConfig,
  views: Views | None,
  window: float | None,
  stride: float | None,
  views_from: str = 'middle',
) -> Iterator[WindowClips]:
  """Yields the clips of windows that slide over a video.

  The last window ends with the video. A video shorter than `window` is one
  window.

  Args:
    video: decoded once, or again if its container reports a wrong number of
      frames. Without any number (live), the crops of one window are kept.
    data: how clips are cut.
    views: per window; None for as many centre-crop clips as fit into it.
    window: in seconds; None for the length of a clip. Frames that are spread
      over the whole video (`data.sampling`) are spread over the window.
    stride: seconds between the starts of windows; None for `window`.
    views_from: where `views` begin in a window, as in `EvaluationConfig`.

  Raises:
    UserError: invalid seconds, the video cannot be read (to its end; of a live
      one, the last window is yielded first), its frame rate is
      unknown, a window is shorter than a clip or has no length, or the stride
      is less than a frame.
  """
  length, hop = _window_frames(video, data, window, stride)
  clip_stride = stride_of(video, data)
  rate, live, count = video.rate, video.count is None, video.count or 0

  def whole(count: int) -> tuple[Views, str]:
    if views:
      return views, views_from
    fitting = frame_numbers.fitting_clips(count, data, clip_stride)
    return (fitting, 1), 'middle'

  def window_of(
    first: int, last: int, views: tuple[np.ndarray, np.ndarray]
  ) -> WindowClips:
    return WindowClips(first / rate, last / rate, *views)

  if not live and count < length:
    count = _count_frames(video)  # the container may report too few
  if not live and count < length:
    yield window_of(0, count, cut_views(video, data, *whole(count)))
    return
  (temporal, spatial), place = whole(length)
  numbers = _view_numbers(video, data, length, temporal, place)
  needed = frozenset(numbers.ravel().tolist())
  starts = _starts(None if live else count, length, hop)
  start = next(starts)
  crops = _Crops(data, spatial)
  unfinished: collections.deque[int] = collections.deque()
  end = decoded = 0
  failures: list[UserError] = []
  for number, image in enumerate(_until_failure(video, failures)):
    decoded = number + 1
    if number == start:
      unfinished.append(start)
      start = next(starts)
    if live or any(number - first in needed for first in unfinished):
      crops.add(number, image)
    crops.drop(number - length)
    if unfinished and unfinished[0] + length == decoded:
      first, end = unfinished.popleft(), decoded
      yield window_of(first, end, crops.clips(first + numbers))
  if not decoded and not failures:
    raise UserError(f'{video.name} has no frames.')
  span = frame_numbers.span(data, clip_stride)
  if failures and decoded < (span if data.short_videos == 'refuse' else 1):
    raise failures[0]
  if decoded < length and live:
    (temporal, _), place = whole(decoded)
    numbers = _view_numbers(video, data, decoded, temporal, place)
    yield window_of(0, decoded, crops.clips(numbers))
  elif decoded < length:
    yield window_of(0, decoded, cut_views(video, data, *whole(decoded)))
  elif end < decoded:  # live, or the container reported a wrong number
    first = decoded - length
    if not live:
      for number, image in enumerate(video.decode()):
        if number - first in needed:
          crops.add(number, image)
    yield window_of(first, decoded, crops.clips(first + numbers))
  for failure in failures:
    raise failure


def _until_failure(
  video: Video, failures: list[UserError]
) -> Iterator[np.ndarray]:
  """Yields the frames; if a live video fails, it ends, and tells `failures`."""
  try:
    yield from video.decode()
  except UserError as error:
    if video.count is not None:
      raise
    failures.append(error)


def _window_frames(
  video: Video, data: DataConfig, window: float | None, stride: float | None
) -> tuple[int, float]:
  """Returns the frames of a window, and from one to the next."""
  check_seconds(window, stride, data)
  rate = video.rate
  if not rate:
    raise UserError(
      f'the frame rate of {video.name} is unknown, and windows are in seconds: '
      'set --frames_per_second.'
    )
  span = frame_numbers.span(data, stride_of(video, data))
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
  return length, hop


class _Crops:
  """The evaluation crops of some frames of a video.

  Args:
    data: how frames are cropped.
    spatial: number of crops of each frame.
  """

  def __init__(self, data: DataConfig, spatial: int):
    self._crop, self._short_side = data.crop, data.short_side
    self._spatial = spatial
    self._crops: dict[int, np.ndarray] = {}  # of each frame, [spatial, H, W, 3]

  def add(self, number: int, image: np.ndarray) -> None:
    """Adds a frame, uint8 [H, W, 3]."""
    boxes = sampling.uniform_boxes(
      image.shape[:2], self._crop, self._short_side, self._spatial
    )
    self._crops[number] = np.stack(
      [sampling.crop_and_resize(image, box, self._crop) for box in boxes]
    )

  def drop(self, number: int) -> None:
    """Forgets a frame, if it was added."""
    self._crops.pop(number, None)

  def clips(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the results of `cut_views` for frames [views, T]."""
    clips = np.stack(
      [[self._crops[number] for number in view] for view in numbers.tolist()]
    )
    clips = einops.rearrange(clips, 'v t s ... -> (v s) t ...')
    return clips, np.repeat(numbers.astype(np.int32), self._spatial, axis=0)


def _starts(count: int | None, length: int, hop: float) -> Iterator[int]:
  """Yields the first frame of each window, endlessly.

  One window ends at frame `count`, if it is known. Later windows are for videos
  with more frames than their container reports.
  """
  previous, last = -1, -1 if count is None else count - length
  for index in itertools.count():
    start = round(index * hop)
    if previous < last < start:
      yield last
    yield start
    previous = start


def _count_frames(video: Video) -> int:
  return sum(1 for _ in video.decode())

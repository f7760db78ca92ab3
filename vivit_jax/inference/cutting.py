"""Clips of a video as evaluation cuts them, and of windows that slide over it.

Frames are decoded one after another and only their crops are kept, so that
memory does not grow with the length of a video.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Iterator

import numpy as np

from vivit_jax.config import DataConfig
from vivit_jax.data import sampling
from vivit_jax.errors import UserError
from vivit_jax.inference.videos import Video

_MOST_SECONDS = 7 * 24 * 3600  # of a window; more is a slip of the hand


@dataclasses.dataclass(frozen=True)
class Views:
  """T temporal x S spatial views of a video.

  Attributes:
    temporal: evenly spaced clips.
    spatial: 1, the centre, or 3 along the longer side.
    asked: whether somebody asked for so many: then a video that has no room
      for them is an error; else they repeat, as in evaluation.
  """

  temporal: int
  spatial: int
  asked: bool = False

  @property
  def count(self) -> int:
    return self.temporal * self.spatial


def parse(text: str) -> Views:
  """Returns the views of '4x3'.

  Raises:
    UserError: anything else.
  """
  if not isinstance(text, str):
    raise UserError(
      f"views are {text!r}; they are text, temporal x spatial, e.g. '4x3'."
    )
  match = re.fullmatch(r'([1-9]\d{0,3})x([13])', text)
  if not match:
    raise UserError(
      f"--views is '{text}'; it takes temporal x spatial views, e.g. 4x3, "
      'where spatial ones are 1 or 3.'
    )
  return Views(int(match[1]), int(match[2]), asked=True)


def stride_of(video: Video, data: DataConfig) -> float:
  """Returns frames of a video from one of a clip to the next.

  Raises:
    UserError: frames a second are asked for, and the video's are not known.
  """
  if data.frames_per_second is None:
    return data.stride
  if not video.rate:
    raise UserError(
      f'data.frames_per_second is {data.frames_per_second:g}, but the frame '
      f'rate of {video.name} is not known: give its frames_per_second.'
    )
  return video.rate / data.frames_per_second


def cut(video: Video, data: DataConfig, views: Views) -> np.ndarray:
  """Returns views of a whole video, as evaluation makes them of a record.

  Args:
    video: of which all frames are decoded, mostly once: again only where the
      container is wrong about their number.
    data: how clips are cut.
    views: how many.

  Returns:
    uint8 [V, T, H, W, 3]; view = temporal * S + spatial.

  Raises:
    UserError: a video that cannot be read, or is too short.
  """
  stride = stride_of(video, data)
  span = sampling.span(data.frames, stride)
  count = video.count
  if count < span + views.temporal:  # short: the errors need the true number
    count = sum(1 for _ in video.decode())
  while True:
    _check_length(video, data, views, count, span)
    frames = sampling.uniform_clips(
      count, data.frames, stride, views.temporal, data.short_videos
    )
    window = _Window(frames, data, views)
    decoded = 0
    for image in video.decode():
      window.take(decoded, image)
      decoded += 1
    if decoded == count:
      return window.clips()
    count = decoded


@dataclasses.dataclass(frozen=True)
class Part:
  """A window of a video: from where to where, in seconds, and its clips.

  `clips` are uint8 [V, T, H, W, 3].
  """

  start: float
  end: float
  clips: np.ndarray


def windows(
  video: Video,
  data: DataConfig,
  views: Views | None,
  window: float | None,
  stride: float | None,
) -> Iterator[Part]:
  """Yields windows that slide over a video; the last one ends with it.

  Args:
    video: of which frames are decoded once, and not kept.
    data: how clips are cut.
    views: of each window; None for as many clips, of the centre, as fit in.
    window: seconds; None for the length of a clip. A video that is shorter is
      one window, with the clips that fit into the video.
    stride: seconds from the start of one window to that of the next; None for
      `window`.

  Raises:
    UserError: a video that cannot be read, or whose rate is not known; a window
      that is shorter than a clip.
  """
  step = stride_of(video, data)
  span = sampling.span(data.frames, step)
  rate = _rate(video)
  length = span if window is None else round(window * rate)
  hop = length if stride is None else stride * rate
  if length < span:
    raise UserError(
      f'a window of {window:g} seconds has {_frames(length)} of {video.name}, '
      f'and a clip of {data.frames} frames reaches over {span}: take windows '
      f'of at least {span / rate:.2f} seconds.'
    )
  if hop < 1:
    raise UserError(
      f'windows are to begin every {hop / rate:g} seconds, more often than '
      f'the frames of {video.name}: at least {1 / rate:.3f} seconds.'
    )
  if video.count < length:  # or the container is wrong: the true number
    count = sum(1 for _ in video.decode())
    if count < length:
      yield _whole(video, data, views, count, span)
      return
  given, views = views, views or Views(length // span, 1)
  offsets = sampling.uniform_clips(length, data.frames, step, views.temporal)
  starts = _starts(video.count, length, hop)
  ahead = next(starts)
  waiting: collections.deque[tuple[int, _Window]] = collections.deque()
  reached = number = 0
  for number, image in enumerate(video.decode(), 1):
    while ahead < number:
      waiting.append((ahead, _Window(ahead + offsets, data, views)))
      ahead = next(starts)
    for _, open_window in waiting:
      open_window.take(number - 1, image)
    while waiting and waiting[0][0] + length <= number:
      first, done = waiting.popleft()
      reached = first + length
      yield Part(first / rate, reached / rate, done.clips())
  if number < length:
    yield _whole(video, data, given, number, span)
  elif reached < number:  # the container was wrong about the number of frames
    last = _Window(number - length + offsets, data, views)
    for place, image in enumerate(video.decode()):
      last.take(place, image)
    yield Part((number - length) / rate, number / rate, last.clips())


def check_seconds(name: str, seconds: float | None) -> None:
  """Raises a UserError for seconds that no window is of, nor begins after."""
  if seconds is not None and not 0 < seconds <= _MOST_SECONDS:
    raise UserError(
      f'{name} is {seconds:g} seconds; above 0, and at most {_MOST_SECONDS}, '
      'which is a week.'
    )


def _whole(
  video: Video, data: DataConfig, views: Views | None, count: int, span: int
) -> Part:
  """Returns a video of `count` frames as the one window that it is."""
  views = views or Views(max(1, count // span), 1)
  return Part(0.0, count / _rate(video), cut(video, data, views))


def _rate(video: Video) -> float:
  if not video.rate:
    raise UserError(
      f'the frame rate of {video.name} is not known, and windows are in '
      'seconds: give its frames_per_second.'
    )
  return video.rate


def _starts(count: int, length: int, hop: float) -> Iterator[int]:
  """Yields first frames of windows: evenly, and the last that `count` allows.

  They go on after it, for more frames may come than the container says.
  """
  last = count - length
  for place in itertools.count():
    start = round(place * hop)
    if last > 0 and round((place - 1) * hop) < last < start:
      yield last
    yield start


class _Window:
  """Clips that are filled as frames go by."""

  def __init__(self, frames: np.ndarray, data: DataConfig, views: Views):
    """Takes the numbers of the frames of each temporal view, int [v, T]."""
    self._data, self._views = data, views
    self._clips = np.zeros(
      (views.temporal, views.spatial, data.frames, *data.crop, 3), np.uint8
    )
    self._places: dict[int, list[tuple[int, int]]] = {}
    for (view, time), number in np.ndenumerate(frames):
      self._places.setdefault(int(number), []).append((view, time))

  def take(self, number: int, image: np.ndarray) -> None:
    """Takes a frame of the video, if a clip has it."""
    places = self._places.get(number)
    if places is None:
      return
    boxes = sampling.uniform_boxes(
      image.shape[:2],
      self._data.crop,
      self._data.short_side,
      self._views.spatial,
    )
    for crop, box in enumerate(boxes):
      part = sampling.crop_and_resize(image, box, self._data.crop)
      for view, time in places:
        self._clips[view, crop, time] = part

  def clips(self) -> np.ndarray:
    """Returns uint8 [V, T, H, W, 3]."""
    return self._clips.reshape(-1, *self._clips.shape[2:])


def _frames(count: int) -> str:
  return f'{count} frame' if count == 1 else f'{count} frames'


def _check_length(
  video: Video, data: DataConfig, views: Views, count: int, span: int
) -> None:
  """Raises a UserError where a video is too short for its views."""
  frames = _frames(count)
  if data.short_videos == 'refuse' and count < span:
    raise UserError(
      f'{video.name} has {frames}, and a clip of {data.frames} frames '
      f"reaches over {span}: --short_videos=loop plays it again, 'hold' "
      'repeats its last frame.'
    )
  room = max(1, count - span + 1)
  if views.asked and views.temporal > room:
    clips = 'clip' if room == 1 else 'clips'
    raise UserError(
      f'{views.temporal} temporal views are asked for, but {video.name} has '
      f'{frames}, room for {room} different {clips}, each over {span} '
      f'frames: ask for --views={room}x{views.spatial} at most.'
    )

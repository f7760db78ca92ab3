"""Times of video frames: resampling of variable frame rates, and seeking."""

import functools
import itertools
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import av

from vivit_jax import files
from vivit_jax.data import containers

_MAX_MOMENTS = 1 << 20  # 9 hours at 30 frames/s; more means damage
_MAX_RATE = 1000  # frames/s; more means damage
_STEPS_BACK = (0.0, 1.0, 4.0, 16.0)  # seconds; the last try is the beginning
_Image = TypeVar('_Image')


def origin(stream: av.VideoStream) -> float:
  """Returns the stream's start time, in seconds."""
  return float((stream.start_time or 0) * (stream.time_base or 0))


def slack(stream: av.VideoStream) -> float:
  """Returns the max rounding error of the container's times, in seconds.

  A coarse time base is one tick per frame: its times are exact, hence the cap.
  """
  return min(max(1e-6, float(stream.time_base or 0) / 2), 5e-4)


def resample_times(
  path: str | os.PathLike, start: float = 0.0, end: float = math.inf
) -> tuple[float, ...] | None:
  """Returns the times at which to sample a video of variable frame rate.

  The times are 1 / rate apart. For a whole video, they go from the first frame
  to the last, at the average rate of the frames; for a segment, from `start`
  to before `end`, at the stream's average rate.

  Args:
    path: the video file.
    start, end: bounds of the segment, in seconds; 0 and infinity for the whole
      video.

  Returns:
    Seconds, ascending; None if the rate is unknown or constant (every frame is
    within one frame interval of its regular time).
  """
  try:
    path = pathlib.Path(path).absolute()
    return _uneven_moments(path, files.stamp(path), start, end)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return None  # decoding will report the error


@functools.lru_cache(1)  # called for a video's frames, then for its rate
def _uneven_moments(
  path: pathlib.Path, stamp: tuple[int, int] | None, start: float, end: float
) -> tuple[float, ...] | None:
  """Like `resample_times`, but raises the errors of reading the file."""
  del stamp  # part of the cache's key
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    times = _times(container, stream, start, end)
    average = float(stream.average_rate or 0)
    if times is None or not 0 < average <= _MAX_RATE:
      return None
    inside = [time for time in times if start <= time < end]
    if start > 0 or end < math.inf:
      moments = _in_segment(inside, average, start, end, times[-1] >= end)
      return moments and tuple(moment + slack(stream) for moment in moments)
    return _in_video(inside)


def _times(
  container: av.container.InputContainer,
  stream: av.VideoStream,
  start: float,
  end: float,
) -> list[float] | None:
  """Returns the times of a segment's packets and some later ones, sorted."""
  begin, rounding, times = origin(stream), slack(stream), []
  if start > 0:
    _seek(container, stream, start)
  for packet in container.demux(stream):
    if not packet.size:
      continue  # end of stream
    if packet.pts is None:
      return None
    if packet.is_discard:
      continue
    times.append(float(packet.pts * stream.time_base) - begin + rounding)
    if packet.dts is not None and packet.dts * stream.time_base - begin > end:
      break
  return sorted(times) or None


def _in_video(times: Sequence[float]) -> tuple[float, ...] | None:
  """Returns the times to sample a whole video; None for a constant rate."""
  steps = len(times) - 1
  if steps < 2 or times[-1] == times[0]:
    return None
  step = (times[-1] - times[0]) / steps
  moments = tuple(times[0] + i * step for i in range(len(times)))
  even = all(abs(a - b) <= step for a, b in zip(times, moments))
  return None if even or len(times) > _MAX_MOMENTS else moments


def _in_segment(
  times: Sequence[float], rate: float, start: float, end: float, goes_on: bool
) -> tuple[float, ...] | None:
  """Returns the times to sample a segment; None for a constant rate.

  Args:
    times: times of the segment's frames, in seconds.
    rate: average rate of the stream, in frames per second.
    start, end: bounds of the segment, in seconds.
    goes_on: whether the video continues after the segment.
  """
  if not goes_on:
    end = min(end, times[-1] + 1 / rate) if times else start
  count = math.ceil((end - start) * rate - 0.01)
  if not 1 <= count <= _MAX_MOMENTS:
    return None
  moments = tuple(start + i / rate for i in range(count))
  if not times:
    return moments if goes_on else None
  delay = times[0] - start
  even = abs(len(times) - count) <= 1 and delay <= 1.01 / rate
  even = even and all(
    abs(a - b - delay) <= 1 / rate for a, b in zip(times, moments)
  )
  return None if even else moments


def on_display(
  images: Iterator[tuple[float, _Image]], moments: Sequence[float]
) -> Iterator[_Image]:
  """Yields the image on display at each moment.

  Args:
    images: (time in seconds, image), in the order of time.
    moments: seconds, ascending. A moment before the first image yields that
      image.
  """
  shown, count = None, 0
  for time, image in images:
    while shown is not None and count < len(moments) and moments[count] < time:
      yield shown
      count += 1
    shown = image
  if shown is not None:
    yield from itertools.repeat(shown, len(moments) - count)


def _seek(
  container: av.container.InputContainer, stream: av.VideoStream, time: float
) -> None:
  """Seeks to a key frame before a time, in seconds from the beginning."""
  ticks = int((max(time, 0.0) + origin(stream)) / stream.time_base)
  container.seek(ticks, stream=stream)


def decode_from(
  container: av.container.InputContainer, stream: av.VideoStream, time: float
) -> Iterator[av.VideoFrame]:
  """Yields frames, beginning with one at or before a time if possible.

  A container's index is in decoding order, so seeking may land on a key frame
  after the time. In that case, this seeks further back.
  """
  latest = time + origin(stream) + slack(stream)
  for back in (*_STEPS_BACK, math.inf):
    if time <= 0:
      break
    _seek(container, stream, time - back)
    frames = container.decode(stream)
    first = next(frames, None)
    early = first is not None and (first.time is None or first.time <= latest)
    if early or back > time:
      return iter(()) if first is None else itertools.chain([first], frames)
  return container.decode(stream)

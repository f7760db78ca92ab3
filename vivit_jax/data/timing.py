"""When a video's frames are shown: variable rates, and seeking to a moment."""

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

_MOST_MOMENTS = 1 << 20  # more are damage: 9 hours at 30 frames/s
_MOST_RATE = 1000  # frames/s; more is damage, too
_STEPS_BACK = (0.0, 1.0, 4.0, 16.0)  # seconds; then the beginning
_Image = TypeVar('_Image')


def origin(stream: av.VideoStream) -> float:
  """Returns the time of the stream's beginning, in seconds."""
  return float((stream.start_time or 0) * (stream.time_base or 0))


def slack(stream: av.VideoStream) -> float:
  """Returns by how much the container rounds times, in seconds.

  Where its unit is no small one, it is that of the frames: nothing is rounded.
  """
  return min(max(1e-6, float(stream.time_base or 0) / 2), 5e-4)


def uneven_moments(
  path: str | os.PathLike, start: float = 0.0, end: float = math.inf
) -> tuple[float, ...] | None:
  """Returns when a video of a variable rate is to be looked at, in seconds.

  The moments are 1 / rate apart: from the first frame to the last, at the
  average rate of the frames; in a part, from `start` to before `end`, at that
  of the stream.

  Args:
    path: of the file.
    start, end: the part; 0 and infinite for all.

  Returns:
    None where the rate is constant, which is where no frame is more than one
    frame off its place, or cannot be told.
  """
  try:
    path = pathlib.Path(path).absolute()
    return _uneven_moments(path, files.stamp(path), start, end)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return None  # decoding says what is wrong


@functools.lru_cache(1)  # a video is decoded, and then asked for its rate
def _uneven_moments(
  path: pathlib.Path, stamp: tuple[int, int] | None, start: float, end: float
) -> tuple[float, ...] | None:
  """As `uneven_moments`, and raises what reading the file raises."""
  del stamp  # keys the cache
  with containers.opened(path) as container:
    stream = container.streams.video[0]
    times = _times(container, stream, start, end)
    average = float(stream.average_rate or 0)
    if times is None or not 0 < average <= _MOST_RATE:
      return None
    inside = [time for time in times if start <= time < end]
    if start > 0 or end < math.inf:
      moments = _of_part(inside, average, start, end, times[-1] >= end)
      return moments and tuple(moment + slack(stream) for moment in moments)
    return _of_all(inside)


def _times(
  container: av.container.InputContainer,
  stream: av.VideoStream,
  start: float,
  end: float,
) -> list[float] | None:
  """Returns the sorted times of packets: a part's, and one or more after."""
  begin, rounding, times = origin(stream), slack(stream), []
  if start > 0:
    _seek(container, stream, start)
  for packet in container.demux(stream):
    if not packet.size:
      continue  # the end
    if packet.pts is None:
      return None
    if packet.is_discard:
      continue
    times.append(float(packet.pts * stream.time_base) - begin + rounding)
    if packet.dts is not None and packet.dts * stream.time_base - begin > end:
      break
  return sorted(times) or None


def _of_all(times: Sequence[float]) -> tuple[float, ...] | None:
  steps = len(times) - 1
  if steps < 2 or times[-1] == times[0]:
    return None
  step = (times[-1] - times[0]) / steps
  moments = tuple(times[0] + place * step for place in range(len(times)))
  even = all(abs(a - b) <= step for a, b in zip(times, moments))
  return None if even or len(times) > _MOST_MOMENTS else moments


def _of_part(
  times: Sequence[float], rate: float, start: float, end: float, goes_on: bool
) -> tuple[float, ...] | None:
  if not goes_on:  # the video ends in the part
    end = min(end, times[-1] + 1 / rate) if times else start
  count = math.ceil((end - start) * rate - 0.01)
  if not 1 <= count <= _MOST_MOMENTS:
    return None
  moments = tuple(start + place / rate for place in range(count))
  if not times:
    return moments if goes_on else None
  late = times[0] - start
  even = abs(len(times) - count) <= 1 and late <= 1.01 / rate
  even = even and all(
    abs(a - b - late) <= 1 / rate for a, b in zip(times, moments)
  )
  return None if even else moments


def on_display(
  images: Iterator[tuple[float, _Image]], moments: Sequence[float]
) -> Iterator[_Image]:
  """Yields the picture that is on display at each moment.

  Args:
    images: second and picture, in the order of time.
    moments: seconds, rising. The first picture is on display before its time.
  """
  shown, place = None, 0
  for time, image in images:
    while shown is not None and place < len(moments) and moments[place] < time:
      yield shown
      place += 1
    shown = image
  if shown is not None:
    yield from itertools.repeat(shown, len(moments) - place)


def _seek(
  container: av.container.InputContainer, stream: av.VideoStream, time: float
) -> None:
  """Goes to a key frame before a time, in seconds from the beginning."""
  ticks = int((max(time, 0.0) + origin(stream)) / stream.time_base)
  container.seek(ticks, stream=stream)


def decode_from(
  container: av.container.InputContainer, stream: av.VideoStream, time: float
) -> Iterator[av.VideoFrame]:
  """Yields frames from one at or before a time on, where there is one.

  A container's index may lead to a key frame after it (its order is that of
  decoding); then the search goes further back.
  """
  latest = time + origin(stream) + slack(stream)
  for back in (*_STEPS_BACK, math.inf):
    if time <= 0:
      break
    _seek(container, stream, time - back)
    frames = container.decode(stream)
    first = next(frames, None)
    found = first is not None and (first.time is None or first.time <= latest)
    if found or back > time:
      return iter(()) if first is None else itertools.chain([first], frames)
  return container.decode(stream)

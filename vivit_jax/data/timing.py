"""Times of a video's frames: frame rate, segments, seeking."""

import itertools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator

import av
from av.container import InputContainer
from av.format import Flags

from vivit_jax.data import containers, resampling
from vivit_jax.data.resampling import MAX_RATE, Timing

_FIRST = 2.0  # seconds of live video that tell its rate
_STEPS_BACK = (0.0, 1.0, 4.0, 16.0)  # seconds; the last try is the beginning


def origin(stream: av.VideoStream) -> float:
  """Returns the stream's start time, in seconds."""
  return float((stream.start_time or 0) * (stream.time_base or 0))


def slack(stream: av.VideoStream) -> float:
  """Returns the max rounding error of the container's times, in seconds.

  A coarse time base is one tick per frame: its times are exact, hence the cap.
  """
  return min(max(1e-6, float(stream.time_base or 0) / 2), 5e-4)


def is_timed(container: InputContainer, stream: av.VideoStream) -> bool:
  """Returns whether frames have times of their own, or the codec has a rate.

  FFmpeg gives other ones, such as raw H.264 and the MJPEG of cameras, 25 frames
  per second.
  """
  return _has_times(container) or bool(stream.codec_context.framerate)


def _has_times(container: InputContainer) -> bool:
  kind = container.format
  images = kind.name.endswith('_pipe')  # one after another
  return not (kind.flags & Flags.no_timestamps.value or images)


def declared_rate(
  container: InputContainer, stream: av.VideoStream
) -> float | None:
  """Returns the frames per second that a video declares, or else None.

  1000 is the clock of Matroska and Flash, in milliseconds, and no rate.
  """
  codec = stream.codec_context
  rate = stream.average_rate if _has_times(container) else codec.framerate
  return float(rate) if rate and 0 < rate < MAX_RATE else None


def rate_of_first(packets: Iterable[av.Packet]) -> float | None:
  """Returns the frame rate, as of a file, of a video's first seconds.

  Packets are read until they have `_FIRST` seconds, or one has no time.
  """
  times: list[float] = []
  for packet in packets:
    if packet.pts is None:
      return None
    times.append(float(packet.pts * packet.time_base))
    # Packets are in decoding order: later ones are shown at `done` or after.
    done = times[-1] if packet.dts is None else packet.dts * packet.time_base
    if done - times[0] >= _FIRST or len(times) > _FIRST * MAX_RATE:
      times = [time for time in times if time <= done]
      break
  times = sorted(times)
  rate = resampling.in_video(times, resampling.average_rate(times)).rate
  return rate if 0 < rate <= MAX_RATE else None


def measure(
  path: str | os.PathLike, start: float = 0.0, end: float = math.inf
) -> Timing:
  """Returns the frame rate of a video or segment, and how to sample it.

  The rate is constant if every frame is within one frame interval of its
  regular time. docs/datasets.md says how other videos are sampled. `start` and
  `end` are in seconds. The timing of a file that cannot be read has no rate.
  """
  try:
    return _measure(pathlib.Path(path).absolute(), start, end)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return Timing()  # decoding will report the error


# Called for a video's frames, then for its rate.
@containers.cached_until_changed(1)
def _measure(path: pathlib.Path, start: float, end: float) -> Timing:
  """Like `measure`, but raises the errors of reading the file."""
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    timed = is_timed(container, stream)
    times = _times(container, stream, start, end) if timed else None
    rate = declared_rate(container, stream)  # Ogg declares none
    rate = rate or resampling.average_rate(times or [])
    if times is None or not 0 < rate <= MAX_RATE:
      return Timing(rate or None)
    inside = [time for time in times if start <= time < end]
    if start <= 0 and end == math.inf:
      return resampling.in_video(inside, rate)
    timing = resampling.in_segment(inside, rate, start, end, times[-1] >= end)
    if timing.moments is None:
      return timing
    first = start + slack(stream)  # the frame on display at the start
    return Timing(timing.rate, tuple(max(first, x) for x in timing.moments))


@containers.cached_until_changed(1)  # segments of one video come in sequence
def frame_times(path: pathlib.Path) -> list[float]:
  """Returns the times of a video's frames, in seconds; [] if unknown."""
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    return _times(container, stream, 0.0, math.inf) or []


def _times(
  container: InputContainer, stream: av.VideoStream, start: float, end: float
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


def _seek(
  container: InputContainer, stream: av.VideoStream, time: float
) -> None:
  """Seeks to a key frame before a time, in seconds from the beginning."""
  ticks = int((max(time, 0.0) + origin(stream)) / stream.time_base)
  container.seek(ticks, stream=stream)


def decode_from(
  container: InputContainer, stream: av.VideoStream, time: float
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

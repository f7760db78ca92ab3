"""Resampling of variable frame rates, from the times of frames alone."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

MAX_RATE = 1000  # frames/s; more means damage
_MAX_MOMENTS = 1 << 20  # 9 hours at 30 frames/s; more means damage
_MAX_HELD = 16  # samples per frame of a video
_MAX_PAUSE = 60.0  # seconds for which a live image is repeated
_RUN = 5  # min frames whose rate counts
_Image = TypeVar('_Image')


@dataclasses.dataclass(frozen=True)
class Timing:
  """When to sample a video or a segment."""

  rate: float | None = None  # frames per second after sampling; None: unknown
  # Seconds, ascending, of the frame on display at each sample. None: the rate
  # is constant or unknown, and each frame is one sample.
  moments: tuple[float, ...] | None = None


def average_rate(times: Sequence[float]) -> float:
  """Returns the average frames per second; 0 if unknown."""
  seconds = times[-1] - times[0] if times else 0.0
  return (len(times) - 1) / seconds if seconds > 0 else 0.0


def in_video(times: Sequence[float], declared: float) -> Timing:
  """Returns the timing of a whole video from the times of its frames."""
  rate = average_rate(times)
  if len(times) < 3 or not rate or len(times) > _MAX_MOMENTS:
    return Timing(declared)
  regular = [times[0] + i / rate for i in range(len(times))]
  if all(abs(a - b) <= 1 / rate for a, b in zip(times, regular)):
    return Timing(declared if _near(declared, rate) else rate)
  rate = _sampling_rate(times, rate)
  firsts = _first_samples(times, times[0], rate)
  return Timing(rate, _moments(times, [*firsts, firsts[-1] + 1]))


def _near(declared: float, rate: float) -> bool:
  """Returns whether a rate can be the declared one but for lost frames."""
  return 1 / 1.5 <= declared / rate <= 1.5


def in_segment(
  times: Sequence[float], rate: float, start: float, end: float, goes_on: bool
) -> Timing:
  """Returns the timing of a segment from the times of its frames.

  `rate` is the stream's average; `goes_on`: the video continues after `end`.
  """
  if not goes_on:
    end = min(end, times[-1] + 1 / rate) if times else start
  count = math.ceil((end - start) * rate - 0.01)
  if not 1 <= count <= _MAX_MOMENTS:
    return Timing(rate)
  if not times:
    return Timing(rate, (start,) * count if goes_on else None)
  delay = times[0] - start
  even = abs(len(times) - count) <= 1 and delay <= 1.01 / rate
  even = even and all(
    abs(time - start - i / rate - delay) <= 1 / rate
    for i, time in enumerate(times)
  )
  if even:
    return Timing(rate)
  rate = _sampling_rate(times, rate)
  firsts = _first_samples(times, start, rate)
  count = max(firsts[-1] + 1, math.ceil((end - start) * rate - 0.01))
  return Timing(rate, _moments((start, *times), (0, *firsts, count)))


def _sampling_rate(times: Sequence[float], average: float) -> float:
  """Returns the rate of the fastest run of frames, within bounds.

  A run has as many frames as an average second, so that single late frames do
  not count, and at least `_RUN`.
  """
  run = min(max(_RUN, round(average)), len(times) - 1)
  shortest = min(b - a for a, b in zip(times, times[run:]))
  fastest = run / max(shortest, 1e-6)
  most = _MAX_MOMENTS / max(times[-1] - times[0], 1e-6)
  held = (_MAX_HELD - 1) * average  # and one for each frame of a last burst
  return max(average, min(fastest, held, MAX_RATE, most))


def _first_samples(
  times: Sequence[float], begin: float, rate: float
) -> list[int]:
  """Returns the first sample of each frame; no two frames share one."""
  firsts = []
  for time in times:
    nearest = math.floor((time - begin) * rate + 0.5)
    firsts.append(max(nearest, firsts[-1] + 1 if firsts else 0))
  return firsts


def _moments(
  times: Sequence[float], samples: Sequence[int]
) -> tuple[float, ...]:
  """Returns times[i] for each of the samples samples[i] to samples[i + 1]."""
  counts = [b - a for a, b in itertools.pairwise(samples)]
  return tuple(
    itertools.chain.from_iterable(map(itertools.repeat, times, counts))
  )


def on_display(
  images: Iterator[tuple[float, _Image]], moments: Sequence[float]
) -> Iterator[_Image]:
  """Yields the image on display at each moment, or the first one before it.

  Images come with their times, ascending, in seconds, as moments are.
  """
  shown, count = None, 0
  for time, image in images:
    while shown is not None and count < len(moments) and moments[count] < time:
      yield shown
      count += 1
    shown = image
  if shown is not None:
    yield from itertools.repeat(shown, len(moments) - count)


def steady(
  images: Iterator[tuple[float | None, _Image]], rate: float
) -> Iterator[_Image]:
  """Yields images at a constant rate while they arrive.

  Each image is one sample, unless it comes 1.5 samples late: then the previous
  one is repeated. An image that is a second early is skipped. So no image is
  more than a second from its time.

  Args:
    images: (time in seconds or None, image). A time that jumps back, or ahead
      by a minute, is a new clock.
    rate: samples per second.
  """
  count, begin, previous, shown = 0, None, 0.0, None
  for time, image in images:
    if time is not None:
      if begin is None or not 0 <= time - previous <= _MAX_PAUSE:
        begin = time - count / rate
      previous = time
      late = (time - begin) * rate - count
      if late < -rate:
        continue
      if late >= 1.5 and shown is not None:
        repeats = math.floor(late + 0.5)
        yield from itertools.repeat(shown, repeats)
        count += repeats
    yield image
    count, shown = count + 1, image

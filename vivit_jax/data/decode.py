"""Decoding of video files to RGB frames, and JPEG encoding and decoding."""

import math
import os
import pathlib
from collections.abc import Callable, Iterator

import av
import cv2
import numpy as np
from av.container import InputContainer

from vivit_jax.data import containers, display, resampling, timing
from vivit_jax.data.containers import UnreadableVideo

# Files with these suffixes count as videos when a folder is searched.
SUFFIXES = (
  '.3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv'
).split()

# A complete video has at least this share of its declared frames: a cut without
# re-encoding leaves some that cannot be decoded.
_MIN_SHARE = 0.9

# PyAV's errors for damaged files; the last three: impossible frame sizes.
_DECODER_ERRORS = (av.FFmpegError, ValueError, OverflowError, MemoryError)


def decode_video(
  path: str | os.PathLike,
  short_side: int | None = None,
  start: float | None = None,
  end: float | None = None,
  square_pixels: bool = True,
) -> Iterator[np.ndarray]:
  """Yields the frames of a file's largest video stream, in one thread.

  The file's display matrix (rotation, mirror) is applied. A variable frame
  rate is made constant by repeating frames; none is skipped (`timing.measure`).
  Errors that the codec conceals are not detected. Truncation raises after the
  last frame.

  Args:
    path: the video file.
    short_side: max short side, in pixels; larger frames are shrunk. None keeps
      the size.
    start: start of the segment, in seconds, exact to a frame; None for 0.
    end: end of the segment, in seconds, exclusive; None for the video's end.
    square_pixels: as in `display.rgb_converter`; False keeps the width of
      frames whose pixels are not square.

  Yields:
    uint8 RGB [H, W, 3]; all frames have the same size.

  Raises:
    UnreadableVideo: a missing, damaged or truncated file, no video, or an
      incomplete segment.
  """
  path = pathlib.Path(path)
  whole = start is None and end is None
  start, end = start or 0.0, math.inf if end is None else end
  moments = timing.measure(path, start, end).moments
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    if whole:
      frames = _all_frames(path, container, stream)
    else:
      frames = _segment(
        path, container, stream, start, end, moments is not None
      )
    convert = display.rgb_converter(stream, square_pixels)
    images = _images(path, frames, convert, short_side)
    if moments is None:
      yield from (image for _, image in images)
    else:
      yield from resampling.on_display(images, moments)


Timed = tuple[float, av.VideoFrame]


def _images(
  path: pathlib.Path,
  frames: Iterator[Timed],
  convert: Callable[[av.VideoFrame], np.ndarray],
  short_side: int | None,
) -> Iterator[tuple[float, np.ndarray]]:
  """Yields time and RGB image of each frame; raises UnreadableVideo."""
  count, shape = 0, None
  try:
    for time, frame in frames:
      if frame.is_corrupt:
        raise UnreadableVideo(path, f'is damaged: frame {count} is corrupt')
      image = convert(frame)
      shape = image.shape if shape is None else shape
      if image.shape != shape:
        raise UnreadableVideo(path, f'changes its size at frame {count}')
      yield time, shrink(image, short_side)
      count += 1
  except UnreadableVideo:
    raise
  except _DECODER_ERRORS as error:
    reason = getattr(error, 'strerror', None) or error
    raise UnreadableVideo(
      path, f'is damaged: {reason} after {count} frames'
    ) from None


def _all_frames(
  path: pathlib.Path,
  container: InputContainer,
  stream: av.VideoStream,
) -> Iterator[Timed]:
  """Yields time and frame; refuses a truncated video."""
  origin, count, end = timing.origin(stream), 0, 0.0
  read = 0.0  # seconds of the file, of any stream
  # Matroska has no frame count. All its streams show whether the file is whole:
  # the audio may be longer than the video.
  for packet in container.demux(*([stream] if stream.frames else [])):
    if packet.pts is not None:
      stop = packet.pts + (packet.duration or 0)
      read = max(read, float(stop * packet.time_base))
    if packet.stream.index != stream.index:
      continue
    for frame in packet.decode():
      count, end = count + 1, frame.time or 0.0
      yield end - origin, frame
  if not count:
    raise UnreadableVideo(path, 'has no frames')
  if declared := _shown_frames(container, stream):
    if count < _MIN_SHARE * declared:
      raise UnreadableVideo(
        path, f'is damaged: it ends after {count} of {declared} frames'
      )
  elif count > 1 and container.duration is not None:
    seconds = container.duration / av.time_base
    read = max(read, end * count / (count - 1))
    if read < _MIN_SHARE * seconds:
      raise UnreadableVideo(
        path, f'is damaged: it ends after {read:.1f} of {seconds:.1f} seconds'
      )


def _shown_frames(container: InputContainer, stream: av.VideoStream) -> int:
  """Returns the number of frames that a whole file shows; 0 if unknown.

  In MP4, edit lists hide frames: clips that are cut without re-encoding begin
  at a key frame before the cut. The declared number includes hidden frames.
  """
  if stream.frames and 'mp4' in container.format.name:
    shown = sum(not entry.is_discard for entry in stream.index_entries)
    return min(shown, stream.frames) or stream.frames
  return stream.frames


def _segment(
  path: pathlib.Path,
  container: InputContainer,
  stream: av.VideoStream,
  start: float,
  end: float,
  with_previous: bool,
) -> Iterator[Timed]:
  """Yields times and frames of a segment, optionally also the frame before."""
  origin, slack = timing.origin(stream), timing.slack(stream)
  previous, times, duration = None, [], 0.0
  for frame in timing.decode_from(container, stream, start):
    if frame.time is None:
      raise UnreadableVideo(path, 'lacks timestamps to cut segments')
    time = frame.time - origin
    if time < start - slack:
      previous = time, frame
      continue
    if with_previous and previous is not None:
      yield previous
      times, with_previous = [start], False
    if time >= end - slack:
      break
    times, duration = [*times[-1:], time], frame.duration or 0
    yield time, frame
  else:  # the video ends within the segment
    if times and end < math.inf:
      last = max(
        times[-1] - times[0],
        float(duration * stream.time_base),
        1 / float(stream.average_rate or math.inf),
      )  # seconds of the last frame
      length = times[-1] + last - start
      if length < _MIN_SHARE * (end - start):
        raise UnreadableVideo(
          path, f'ends at {times[-1]:.1f} seconds, within the segment from '
          f'{start:g} to {end:g}'
        )  # fmt: skip
  if not times:
    raise UnreadableVideo(
      path, f'has no frames from {start:g} to {end:g} seconds'
    )


def frame_rate(
  path: str | os.PathLike, start: float | None = None, end: float | None = None
) -> float | None:
  """Returns the frame rate of `decode_video`'s output; None: unknown."""
  path = pathlib.Path(path)
  rate = timing.measure(
    path, start or 0.0, math.inf if end is None else end
  ).rate
  if rate is None:
    with containers.opened(path) as container:
      stream = containers.video_stream(path, container)
      rate = timing.declared_rate(container, stream)
  return rate


def shrink(image: np.ndarray, short_side: int | None) -> np.ndarray:
  """Shrinks an image [H, W, 3] to a short side of at most `short_side` pixels.

  The aspect ratio is kept. A small image is returned as it is, not copied.
  """
  height, width = image.shape[:2]
  if short_side is None or min(height, width) <= short_side:
    return image
  scale = short_side / min(height, width)
  size = (round(width * scale), round(height * scale))
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
  """Encodes an image, uint8 RGB [H, W, 3], as JPEG of quality 1 to 100."""
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
  return data.tobytes()


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
  """Decodes a JPEG to uint8 RGB [H, W, 3]; `where` begins the error.

  Raises:
    UnreadableVideo: empty, truncated or not a JPEG. Most flipped bits are
      not detected: JPEG has no checksum. Records have one.
  """
  image = decode_image(data)
  if image is None:
    raise UnreadableVideo(where, 'is a damaged JPEG')
  return image


def decode_image(data: bytes) -> np.ndarray | None:
  """Decodes an image file to uint8 RGB [H, W, 3]; returns None if invalid."""
  if not data:
    return None
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

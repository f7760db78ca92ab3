"""Video files to RGB frames, and frames to JPEG and back."""

import math
import os
import pathlib
from collections.abc import Callable, Iterator

import av
import cv2
import numpy as np

from vivit_jax.data import containers, timing
from vivit_jax.data.containers import UnreadableVideo

# Of files that are taken for videos when a folder is searched.
SUFFIXES = (
  '.3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv'
).split()

# What a video holds at least of the frames that its container declares. Short
# of 1 because counts of sound files are off by a few: edit lists hide frames,
# and a cut without re-encoding leaves some that nothing can decode.
_LEAST_SHARE = 0.9

# What PyAV raises on damage: of sizes that cannot be, the last three.
_DECODER_ERRORS = (av.FFmpegError, ValueError, OverflowError, MemoryError)


def decode_video(
  path: str | os.PathLike,
  short_side: int | None = None,
  start: float | None = None,
  end: float | None = None,
) -> Iterator[np.ndarray]:
  """Yields the frames of a file's first video stream, in one thread.

  A rotation that the file asks for (phones) is carried out. Where frames come
  at a variable rate, those on display at a constant one, the average, are
  yielded, so that a second lasts a second; other videos' frames come as they
  are. Damage that the codec itself conceals passes; a video that breaks off
  does not, even if its first frames could be decoded: the error then comes
  after them.

  Args:
    path: of the file.
    short_side: pixels; larger frames are shrunk to it. None keeps all.
    start: seconds from the video's beginning; frames before are left out, by
      seeking, but exactly. None for 0.
    end: seconds; frames at it and after are left out. None for the video's.

  Yields:
    uint8 [H, W, 3], RGB; H and W are the same in all frames.

  Raises:
    UnreadableVideo: no such file, not a video, damaged, or cut off; or the
      part is not in it.
  """
  path = pathlib.Path(path)
  whole = start is None and end is None
  start, end = start or 0.0, math.inf if end is None else end
  moments = timing.uneven_moments(path, start, end)
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    if whole:
      frames = _all(path, container, stream)
    else:
      frames = _part(path, container, stream, start, end, moments is not None)
    images = _images(path, frames, short_side)
    if moments is None:
      yield from (image for _, image in images)
    else:
      yield from timing.on_display(images, moments)


def seconds(path: str | os.PathLike) -> float:
  """Returns how long a file's video lasts; 0 where it does not tell.

  Raises:
    UnreadableVideo: it cannot be opened.
  """
  path = pathlib.Path(path)
  with containers.opened(path) as container:
    stream = containers.video_stream(path, container)
    if stream.duration is not None and stream.time_base is not None:
      return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


Timed = tuple[float, av.VideoFrame]


def _images(
  path: pathlib.Path, frames: Iterator[Timed], short_side: int | None
) -> Iterator[tuple[float, np.ndarray]]:
  """Yields second and picture of each frame, checked."""
  count, shape, turn = 0, None, None
  try:
    for time, frame in frames:
      if frame.is_corrupt:
        raise UnreadableVideo(path, f'is damaged: frame {count} is corrupt')
      # Of key frames alone: one that was asked for it is in a cycle with its
      # side data, and some hundred such would wait in memory to be collected.
      if turn is None or frame.key_frame:
        turn = _turn(frame)
      image = turn(frame.to_ndarray(format='rgb24'))
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


def _all(
  path: pathlib.Path,
  container: av.container.InputContainer,
  stream: av.VideoStream,
) -> Iterator[Timed]:
  """Yields all frames, and raises where they end too early."""
  origin, count, end = timing.origin(stream), 0, 0.0
  for frame in container.decode(stream):
    count, end = count + 1, frame.time or 0.0
    yield end - origin, frame
  _require_whole(path, container, count, end)


def _part(
  path: pathlib.Path,
  container: av.container.InputContainer,
  stream: av.VideoStream,
  start: float,
  end: float,
  with_lead: bool,
) -> Iterator[Timed]:
  """Yields the frames of a part; before them, on demand, the last one before.

  Raises where there are none, or where they end too early.
  """
  origin, slack = timing.origin(stream), timing.slack(stream)
  lead, times = None, []
  for frame in timing.decode_from(container, stream, start):
    if frame.time is None:
      raise UnreadableVideo(path, 'has no times, to find a part of it by')
    time = frame.time - origin
    if time < start - slack:
      lead = time, frame
      continue
    if with_lead and lead is not None:
      yield lead
      times, with_lead = [start], False
    if time >= end - slack:
      break
    times = [*times[-1:], time]
    yield time, frame
  else:  # the video ended before the part
    if times and end < math.inf:
      length = 2 * times[-1] - times[0] - start  # with the last one's own
      if length < _LEAST_SHARE * (end - start):
        raise UnreadableVideo(
          path, f'ends at {times[-1]:.1f} seconds, within the part from '
          f'{start:g} to {end:g}'
        )  # fmt: skip
  if not times:
    raise UnreadableVideo(
      path, f'has no frames from {start:g} to {end:g} seconds'
    )


def frame_rate(
  path: str | os.PathLike, start: float | None = None, end: float | None = None
) -> float | None:
  """Returns frames a second of what `decode_video` yields, if a file tells.

  Of a variable rate, that at which it is resampled. Arguments as there.
  """
  path = pathlib.Path(path)
  moments = timing.uneven_moments(
    path, start or 0.0, math.inf if end is None else end
  )
  if moments is not None and len(moments) > 1:
    return (len(moments) - 1) / (moments[-1] - moments[0])
  with containers.opened(path) as container:
    rate = containers.video_stream(path, container).average_rate
  return float(rate) if rate else None


def _turn(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
  """Returns what makes of a frame's pixels [H, W, 3] what is to be seen."""
  for data in frame.side_data:
    if data.type.name == 'DISPLAYMATRIX':
      # x' = a x + c y, y' = b x + d y, in units of 1 / 65536.
      a, b, _, c, d = np.frombuffer(data, '<i4')[:5] / 65536
      if a * d < b * c:
        return lambda image: np.ascontiguousarray(_mirrored(image, a, b, d))
  quarters = round(frame.rotation / 90) % 4  # anticlockwise, as np.rot90's
  if not quarters:
    return lambda image: image
  return lambda image: np.ascontiguousarray(np.rot90(image, quarters))


def _mirrored(image: np.ndarray, a: float, b: float, d: float) -> np.ndarray:
  """Carries out a display matrix that mirrors, of selfie cameras for one."""
  if abs(a) > abs(b):
    return image[:, ::-1] if a < d else image[::-1]
  across = np.swapaxes(image, 0, 1)
  return across if b > 0 else across[::-1, ::-1]


def _require_whole(
  path: pathlib.Path,
  container: av.container.InputContainer,
  count: int,
  end: float,
) -> None:
  """Raises where the frames end early; `end` is the last one's second."""
  if not count:
    raise UnreadableVideo(path, 'has no frames')
  stream = container.streams.video[0]
  if stream.frames:
    if count < _LEAST_SHARE * stream.frames:
      raise UnreadableVideo(
        path, f'is damaged: it breaks off after {count} of {stream.frames} '
        'frames'
      )  # fmt: skip
    return
  # Matroska declares no count of frames, and a duration of the whole file
  # only, in which sound may go on after the video.
  duration = container.duration
  if duration is None or len(container.streams) > 1 or count == 1:
    return
  declared, decoded = duration / av.time_base, end * count / (count - 1)
  if decoded < _LEAST_SHARE * declared:
    raise UnreadableVideo(
      path, f'is damaged: it breaks off after {decoded:.1f} of '
      f'{declared:.1f} seconds'
    )  # fmt: skip


def shrink(image: np.ndarray, short_side: int | None) -> np.ndarray:
  """Returns [H, W, 3] with its short side at most `short_side` pixels.

  The aspect is kept; a frame that is small enough is returned as it is.
  """
  height, width = image.shape[:2]
  if short_side is None or min(height, width) <= short_side:
    return image
  scale = short_side / min(height, width)
  size = (round(width * scale), round(height * scale))
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
  """Returns uint8 RGB [H, W, 3] as JPEG; quality is from 1 to 100."""
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[
    1
  ].tobytes()


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
  """Returns the frame of a JPEG, uint8 RGB [H, W, 3].

  Args:
    data: one JPEG.
    where: what an error names: the video and frame.

  Raises:
    UnreadableVideo: data that is empty, cut off or no JPEG. (Flipped bits are
      mostly not seen: JPEG has no checksum. The records around it have one.)
  """
  image = decode_picture(data)
  if image is None:
    raise UnreadableVideo(where, 'is a damaged JPEG')
  return image


def decode_picture(data: bytes) -> np.ndarray | None:
  """Returns a picture of any kind, uint8 RGB [H, W, 3], or None for none."""
  if not data:
    return None
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

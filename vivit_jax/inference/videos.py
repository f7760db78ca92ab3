"""A video to predict: a file, a live source, or frames."""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from vivit_jax.data import containers, decode, live, raw_videos, timing
from vivit_jax.data.annotations import Example
from vivit_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Video:
  """A video.

  Attributes:
    name: for messages.
    rate: frames per second; None if unknown.
    count: number of frames; for a file, as its container reports it, which may
      be slightly wrong, or 0 if unknown. None: live, to be decoded once.
    decode: returns an iterator over the frames, uint8 RGB [H, W, 3].
  """

  name: str
  rate: float | None
  count: int | None
  decode: Callable[[], Iterator[np.ndarray]]


Source = (
  str
  | os.PathLike
  | np.ndarray
  | Sequence[np.ndarray]
  | Iterator[np.ndarray]
  | Video
)


def open_video(
  source: Source,
  frames_per_second: float | None = None,
  square_pixels: bool = True,
) -> Video:
  """Opens a video file or a live video, or wraps frames.

  Args:
    source: path of a video, or of a folder of frames; a live source, see
      `live.is_live`; frames, uint8 RGB [T, H, W, 3], or an iterator over such
      frames; or an opened video.
    frames_per_second: frame rate; replaces the rate that a file reports.
    square_pixels: as in `decode.decode_video`.

  Raises:
    UserError: the source is not a video, or the rate is not a positive number.
  """
  check_rate(frames_per_second)
  rate = frames_per_second
  if isinstance(source, Video):
    return source
  if live.is_live(source):
    return open_live(source, rate, square_pixels)
  if isinstance(source, Iterator):
    frames = (_checked([frame])[0] for frame in source)
    return Video(name_of(source), rate, None, lambda: frames)
  if not isinstance(source, (str, os.PathLike)):
    images = _checked(source)
    return Video(name_of(source), rate, len(images), lambda: iter(images))
  path = pathlib.Path(source)
  # Reading a pipe would block. Missing files and folders fail when opened.
  if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
    raise UserError(f'{path} is not a regular file: save the video first.')
  if path.is_dir() and (count := raw_videos.frame_count(path)):
    images = functools.partial(raw_videos.frames, path, Example('', '', {}))
    return Video(name_of(path), rate, count, images)
  rate = rate or decode.frame_rate(path)
  decoded = functools.partial(
    decode.decode_video, path, square_pixels=square_pixels
  )
  return Video(name_of(path), rate, _reported_count(path), decoded)


def open_live(
  source: str,
  frames_per_second: float | None = None,
  square_pixels: bool = True,
  seconds: float | None = None,
  stop: threading.Event | None = None,
) -> Video:
  """Opens a live source.

  Args:
    source: see `live.LiveVideo`.
    frames_per_second, square_pixels: as in `open_video`.
    seconds: of video, after which it ends.
    stop: ends the video when it is set.

  Raises:
    UserError: it cannot be opened, or `seconds` are less than a frame.
  """
  video = live.LiveVideo(source, square_pixels, stop)
  rate = frames_per_second or video.rate
  last = None if None in (seconds, rate) else round(seconds * rate)
  if last == 0:
    raise UserError(
      f'{seconds:g} seconds are less than a frame of {video.name}: use at '
      f'least {1 / rate:.3f}.'
    )

  def frames() -> Iterator[np.ndarray]:
    every = video.frames(None if frames_per_second else rate)
    return itertools.islice(every, last)

  return Video(video.name, rate, None, frames)


def check_rate(frames_per_second: float | None) -> None:
  """Raises a UserError for a frame rate that is no number above 0."""
  if frames_per_second is not None and not 0 < frames_per_second < math.inf:
    raise UserError(
      f'frames_per_second is {frames_per_second}; it must be above 0.'
    )


def name_of(source: Source) -> str:
  """Returns the name of a video for messages."""
  if isinstance(source, Video):
    return source.name
  if live.is_live(source):
    return live.name_of(source)
  is_path = isinstance(source, (str, os.PathLike))
  return str(source) if is_path else 'the video'


def is_endless(source: Source) -> bool:
  """Returns whether a video is live, and is not decoded twice."""
  if isinstance(source, Video):
    return source.count is None
  return isinstance(source, Iterator) or live.is_live(source)


def _checked(source: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
  """Returns frames as uint8 [T, H, W, 3], or raises a UserError."""
  try:
    frames = np.asarray(source)
  except ValueError:
    raise UserError('the frames of the video differ in size.') from None
  valid = frames.dtype == np.uint8 and frames.ndim == 4
  if not valid or frames.shape[-1] != 3 or not frames.size:
    raise UserError(
      f'the video is {frames.dtype} {list(frames.shape)}; it takes a path, or '
      'frames as uint8 RGB [T, H, W, 3].'
    )
  return frames


def _reported_count(path: pathlib.Path) -> int:
  """Returns the number of frames without decoding, or 0 if unknown."""
  moments = timing.measure(path).moments
  if moments is not None:
    return len(moments)
  try:
    with av.open(str(path.absolute()), metadata_errors='replace') as container:
      packets = container.demux(containers.video_stream(path, container))
      return sum(bool(p.size) and not p.is_discard for p in packets)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return 0  # decoding raises the error

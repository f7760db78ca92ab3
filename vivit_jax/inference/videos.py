"""A video to predict: a file, or frames in memory."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from vivit_jax.data import containers, decode, timing
from vivit_jax.errors import UserError

Source = str | os.PathLike | np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Video:
  """A video that can be decoded repeatedly.

  Attributes:
    name: for messages.
    rate: frames per second; None if unknown.
    count: number of frames; for a file, as its container reports it, which may
      be slightly wrong, or 0 if unknown.
    decode: returns an iterator over the frames, uint8 RGB [H, W, 3].
  """

  name: str
  rate: float | None
  count: int
  decode: Callable[[], Iterator[np.ndarray]]


def open_video(source: Source, frames_per_second: float | None = None) -> Video:
  """Opens a video file, or wraps frames in memory.

  Args:
    source: path of a video, or its frames, uint8 RGB [T, H, W, 3].
    frames_per_second: frame rate; replaces the rate that a file reports.

  Raises:
    UserError: the source is not a video, or the rate is not a positive number.
  """
  rate = frames_per_second
  if rate is not None and not 0 < rate < math.inf:
    raise UserError(f'frames_per_second is {rate}; it must be above 0.')
  if not isinstance(source, (str, os.PathLike)):
    frames = _checked(source)
    return Video(name_of(source), rate, len(frames), lambda: iter(frames))
  path = pathlib.Path(source)
  # Reading a pipe would block. Missing files and folders fail when opened.
  if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
    raise UserError(f'{path} is not a regular file: save the video first.')
  rate = rate or decode.frame_rate(path)
  frames = functools.partial(decode.decode_video, path)
  return Video(name_of(path), rate, _reported_count(path), frames)


def name_of(source: Source) -> str:
  """Returns the name of a video for messages."""
  is_path = isinstance(source, (str, os.PathLike))
  return str(source) if is_path else 'the video'


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
  moments = timing.resample_times(path)
  if moments is not None:
    return len(moments)
  try:
    with av.open(str(path.absolute()), metadata_errors='replace') as container:
      packets = container.demux(containers.video_stream(path, container))
      return sum(bool(p.size) and not p.is_discard for p in packets)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return 0  # decoding raises the error

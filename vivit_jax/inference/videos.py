"""Videos to look at: files, or frames in memory."""

import dataclasses
import functools
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from vivit_jax.data import decode, timing
from vivit_jax.errors import UserError

Source = str | os.PathLike | np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Video:
  """Frames that can be had one after another, more than once.

  Attributes:
    name: for people.
    rate: frames a second; None where nothing tells.
    count: of frames; of a file, what its container says without decoding,
      which may be a few off, or 0.
    decode: yields the frames, uint8 [H, W, 3].
  """

  name: str
  rate: float | None
  count: int
  decode: Callable[[], Iterator[np.ndarray]]


def open_video(source: Source, frames_per_second: float | None = None) -> Video:
  """Opens a file, or takes frames as they are.

  Args:
    source: path of a video, or its frames, uint8 RGB [T, H, W, 3].
    frames_per_second: of frames in memory; of a file, instead of its own.

  Raises:
    UserError: what is no video, or no rate.
  """
  if frames_per_second is not None:
    _check_rate(frames_per_second)
  if isinstance(source, (str, os.PathLike)):
    path = pathlib.Path(source)
    _check_regular(path)
    # What cannot be opened says so here.
    rate = frames_per_second or decode.frame_rate(path)
    frames = functools.partial(decode.decode_video, path)
    return Video(str(path), rate, _count(path), frames)
  frames = _checked(source)
  return Video(
    'the video', frames_per_second, len(frames), lambda: iter(frames)
  )


def _check_rate(rate: float) -> None:
  if not isinstance(rate, numbers.Real) or not 0 < rate < math.inf:
    raise UserError(f'frames_per_second is {rate!r}; a number above 0.')


def _check_regular(path: pathlib.Path) -> None:
  """Raises a UserError for pipes and the like, which reading waits for."""
  # Folders, and what is not there, say so where they are opened.
  known = os.path.isfile(path) or os.path.isdir(path)
  if os.path.exists(path) and not known:
    raise UserError(
      f'{path} is no regular file: give the path of a video, or write the '
      'video to a file first.'
    )


def _checked(source: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
  """Returns frames as one array, uint8 [T, H, W, 3]."""
  try:
    frames = np.asarray(source)
  except ValueError:
    raise UserError(
      'the frames of the video are not of one size: give uint8 [T, H, W, 3].'
    ) from None
  if (
    frames.dtype != np.uint8
    or frames.ndim != 4
    or frames.shape[-1] != 3
    or not frames.size
  ):
    raise UserError(
      f'the video is {frames.dtype} of shape {list(frames.shape)}; give a '
      'path, or frames as uint8 RGB [T, H, W, 3].'
    )
  return frames


def _count(path: pathlib.Path) -> int:
  """Returns how many frames `decode_video` will probably yield."""
  moments = timing.uneven_moments(path)
  if moments is not None:
    return len(moments)
  try:
    with av.open(str(path.absolute()), metadata_errors='replace') as container:
      packets = container.demux(container.streams.video[0])
      return sum(bool(p.size) and not p.is_discard for p in packets)
  except (av.FFmpegError, OSError, IndexError, ValueError, OverflowError):
    return 0  # decoding says what is wrong

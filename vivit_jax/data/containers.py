"""Opening of video files, and the error for videos that cannot be read."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import av
from av.stream import Disposition

from vivit_jax import files
from vivit_jax.errors import UserError

_PICTURES = ('mjpeg', 'png', 'bmp', 'webp', 'gif')


class UnreadableVideo(UserError):
  """A video that cannot be decoded; `path` and `reason` are the message."""

  def __init__(self, path: str | os.PathLike, reason: str):
    super().__init__(str(path), reason)  # both, so that it can be pickled
    self.path, self.reason = str(path), reason

  def __str__(self) -> str:
    return f'{self.path} {self.reason}.'


def cached_until_changed(size: int) -> Callable[[Callable], Callable]:
  """Decorates f(path, ...): caches results until the file changes."""

  def decorate(function: Callable) -> Callable:
    cached = functools.lru_cache(size)(lambda stamp, *args: function(*args))
    return functools.wraps(function)(
      lambda path, *args: cached(files.stamp(path), path, *args)
    )

  return decorate


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[av.container.InputContainer]:
  """Opens a video file, or raises UnreadableVideo."""
  if os.path.isfile(path) and path.stat().st_size == 0:
    raise UnreadableVideo(path, 'is empty (0 bytes)')
  try:
    # Absolute, or FFmpeg takes a colon in the name for a protocol.
    container = av.open(str(path.absolute()), metadata_errors='replace')
  except FileNotFoundError:
    raise UnreadableVideo(path, 'does not exist') from None
  except av.error.InvalidDataError:
    raise UnreadableVideo(
      path, 'is not a video, or is damaged (truncated?)'
    ) from None
  except (OSError, av.FFmpegError) as error:
    raise UnreadableVideo(path, f'cannot be opened: {error.strerror}') from None
  with container:
    yield container


def video_stream(
  path: pathlib.Path, container: av.container.InputContainer
) -> av.VideoStream:
  """Returns the largest video stream, set up to decode in one thread.

  An attached picture, such as the cover of a song, is no video. Without a
  stream or a decoder for it, this raises UnreadableVideo.
  """
  streams = [
    stream
    for stream in container.streams.video
    if not stream.disposition & Disposition.attached_pic
  ]
  if not streams:
    raise UnreadableVideo(path, 'has no video stream')
  stream = max(streams, key=_rank)
  if stream.codec_context is None:
    raise UnreadableVideo(path, 'has a codec without a decoder here')
  stream.codec_context.thread_count = 1
  stream.thread_type = 'NONE'
  return stream


def _rank(stream: av.VideoStream) -> tuple[bool, int]:
  """Returns whether a stream is no picture, and its area in pixels."""
  context = stream.codec_context
  if context is None:
    return False, 0
  # Matroska may lack the mark of an attached picture.
  return context.name not in _PICTURES, context.width * context.height

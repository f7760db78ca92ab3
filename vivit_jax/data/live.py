"""Video that is decoded while it arrives: URLs, devices, pipes."""

import contextlib
import errno
import itertools
import os
import queue
import re
import signal
import stat
import threading
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from vivit_jax.data import containers, display, resampling, timing
from vivit_jax.data.containers import UnreadableVideo

_PATIENCE = 20.0  # seconds without data, after which a URL is given up
_QUEUED = 4  # decoded frames that wait; then the source waits


def is_live(source: Any) -> bool:
  """Returns whether a source is '-', a URL, a device or a pipe, as a str."""
  if not isinstance(source, str):
    return False
  try:
    mode = os.stat(source).st_mode
  except (OSError, ValueError):
    return source == '-' or '://' in source
  return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def name_of(source: str) -> str:
  """Returns the name of a live source for messages, without passwords.

  Those may be before the host of a URL, or in its query.
  """
  if source == '-':
    return 'standard input'
  if '://' not in source:
    return source
  return re.sub(r'(?<=://)[^/?#]*@|[?#].*', '', source, flags=re.DOTALL)


class LiveVideo:
  """A live video; a thread opens and decodes it.

  `rate` is that declared, or of the first seconds; None if unknown.
  """

  def __init__(
    self,
    source: str,
    square_pixels: bool = True,
    stop: threading.Event | None = None,
  ):
    """Waits until the source is open, and its rate is known.

    Args:
      source: see `is_live`.
      square_pixels: as in `decode.decode_video`.
      stop: ends the video when it is set.

    Raises:
      UnreadableVideo: it cannot be opened, or has no video.
    """
    self.name = name_of(source)
    self._channel = _Channel(stop or threading.Event())
    arguments = source, square_pixels, self._channel
    threading.Thread(target=_read, args=arguments, daemon=True).start()
    self.rate: float | None = next(self._channel.received(), None)  # sent first

  def __del__(self):
    self._channel.close()

  def frames(self, even_rate: float | None) -> Iterator[np.ndarray]:
    """Yields the frames, uint8 RGB [H, W, 3], as they arrive; works once.

    Damaged frames are left out. `even_rate` is for a constant frame rate, see
    `resampling.steady`; None takes the frames as they are.

    Raises:
      UnreadableVideo: the connection is lost, or sends nothing.
    """
    images = self._channel.received()
    if even_rate is not None:
      yield from resampling.steady(images, even_rate)
    else:
      yield from (image for _, image in images)


class _Channel:
  """A short queue from the decoding thread, which waits while it is full."""

  def __init__(self, stop: threading.Event):
    self._queue: queue.Queue = queue.Queue(_QUEUED)
    self._stop, self._closed = stop, threading.Event()

  def close(self) -> None:
    """Ends the channel for both sides."""
    self._closed.set()

  def ended(self) -> bool:
    return self._stop.is_set() or self._closed.is_set()

  def send(self, item: Any) -> None:
    while not self.ended():
      with contextlib.suppress(queue.Full):
        return self._queue.put(item, timeout=0.1)

  def received(self) -> Iterator[Any]:
    """Yields items until None; raises the exceptions among them."""
    while not self.ended():
      try:
        item = self._queue.get(timeout=0.1)
      except queue.Empty:
        continue
      if item is None:
        return
      if isinstance(item, Exception):
        raise item
      yield item


def _read(source: str, square_pixels: bool, channel: _Channel) -> None:
  """Sends the rate, time and image of each frame, and None or an error."""
  name = name_of(source)
  try:
    with _opened(source) as container:
      stream = containers.video_stream(name, container)
      convert = display.rgb_converter(stream, square_pixels)
      timed, failures = timing.is_timed(container, stream), []
      packets = _packets(source, container, stream, failures)
      rate = timing.declared_rate(container, stream)
      if rate is None and timed:
        first, packets = itertools.tee(packets)
        rate = timing.rate_of_first(first)
        del first  # or it would hold all packets
      channel.send(rate)
      for packet in itertools.chain(packets, [None]):
        for frame in _decoded(stream, packet):
          known = timed and frame.pts is not None
          time = float(frame.pts * stream.time_base) if known else None
          channel.send((time, convert(frame)))
        if channel.ended():
          return
      for failure in failures:
        raise failure
    channel.send(None)
  except UnreadableVideo as error:
    channel.send(error)
  except av.error.ExitError:
    reason = f'has sent nothing for {_PATIENCE:g} seconds'
    channel.send(UnreadableVideo(name, reason))
  except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
    reason = getattr(error, 'strerror', None) or error
    channel.send(UnreadableVideo(name, f'cannot be read: {reason}'))
  except Exception as error:  # raised where the frames are used
    channel.send(error)


def _opened(source: str) -> av.container.InputContainer:
  """Opens a live source; waits for as long as it takes, but for URLs."""
  options: dict[str, Any] = {'metadata_errors': 'replace'}
  if '://' in source:
    options['timeout'] = _PATIENCE
  if source.startswith('rtsp'):  # over UDP, frames get lost
    options['options'] = {'rtsp_transport': 'tcp'}
  if source.startswith('/dev/video'):
    options['format'] = 'v4l2'
  try:
    return av.open('pipe:0' if source == '-' else source, **options)
  except av.error.InvalidDataError:
    reason = 'is empty, or not a video'
    if '://' not in source:
      reason += ', or must be a file, as most mp4 (use mkv or ts)'
    raise UnreadableVideo(name_of(source), reason) from None


def _packets(
  source: str,
  container: av.container.InputContainer,
  stream: av.VideoStream,
  failures: list[Exception],
) -> Iterator[av.Packet]:
  """Yields the packets; an error ends them, and is appended to `failures`."""
  try:
    yield from (packet for packet in container.demux(stream) if packet.size)
  except (av.FFmpegError, OSError) as error:
    # FFmpeg expects more of a server that announced no length and has ended.
    endless = source.startswith('http') and container.size < 0
    if not (endless and error.errno == errno.EIO):
      failures.append(error)


def _decoded(
  stream: av.VideoStream, packet: av.Packet | None
) -> list[av.VideoFrame]:
  """Returns the frames of a packet, or the last ones, but for damaged ones."""
  try:
    return [x for x in stream.decode(packet) if not x.is_corrupt]
  except (av.error.InvalidDataError, ValueError):
    return []


@contextlib.contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
  """Yields an event that Ctrl-C sets; a second Ctrl-C acts as before."""
  stop, previous = threading.Event(), signal.getsignal(signal.SIGINT)

  def end(*_):
    stop.set()
    signal.signal(signal.SIGINT, previous)

  signal.signal(signal.SIGINT, end)
  try:
    yield stop
  finally:
    signal.signal(signal.SIGINT, previous)

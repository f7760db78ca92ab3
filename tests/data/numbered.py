"""Videos whose frames encode their number as a level of grey."""

import fractions
import pathlib
from collections.abc import Sequence

import av
import numpy as np

STEP = 6  # levels from one frame to the next
CODECS = {
  '.mp4': 'libx264',
  '.MP4': 'libx264',
  '.mkv': 'libx264',
  '.webm': 'libvpx-vp9',
  '.avi': 'mpeg4',
  '.ogv': 'libvpx',
}
FORMATS = {'.mkv': 'matroska', '.ogv': 'ogg'}


def frame(number: int, size: tuple[int, int] = (32, 40)) -> np.ndarray:
  """Returns frame `number`, at most 39, uint8 [H, W, 3]."""
  return np.full((*size, 3), 10 + STEP * number, np.uint8)


def number(image: np.ndarray) -> int:
  """Returns the number of a frame."""
  return round((float(np.mean(image)) - 10) / STEP)


def write(
  path: pathlib.Path,
  numbers: Sequence[int] | int = 12,
  rate: int = 10,
  ticks: Sequence[int] | None = None,
  key_frames: int = 12,
  size: tuple[int, int] = (32, 40),
  **options: str,
) -> None:
  """Writes a video of the frames with these numbers (or 0 to n - 1).

  Args:
    path: its suffix selects container and codec.
    numbers: of the frames.
    rate: frames per second.
    ticks: time of each frame, in 1 / rate; None for a constant rate.
    key_frames: interval of key frames.
    size: height and width.
    options: of the encoder.
  """
  numbers = range(numbers) if isinstance(numbers, int) else numbers
  ticks = range(len(numbers)) if ticks is None else ticks
  path.parent.mkdir(parents=True, exist_ok=True)
  name = FORMATS.get(path.suffix, path.suffix[1:].lower())
  with av.open(str(path), 'w', format=name) as container:
    stream = container.add_stream(CODECS[path.suffix], rate=rate)
    stream.height, stream.width = size
    stream.pix_fmt = 'yuv420p'
    stream.thread_count = 1
    stream.codec_context.gop_size = key_frames
    stream.time_base = fractions.Fraction(1, rate)
    if stream.codec.name == 'libx264':
      options = {'sc_threshold': '0', **options}  # no key frames but those
    if stream.codec.name == 'mpeg4':
      options = {'sc_threshold': '1000000000', 'qmax': '2', **options}
    stream.options = options
    for which, tick in zip(numbers, ticks):
      one = av.VideoFrame.from_ndarray(frame(which, size), format='rgb24')
      one.pts, one.time_base = tick, fractions.Fraction(1, rate)
      container.mux(stream.encode(one))
    container.mux(stream.encode())

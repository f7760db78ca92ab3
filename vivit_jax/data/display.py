"""How frames are displayed: shape of the pixels, rotation, mirroring."""

from collections.abc import Callable

import av
import cv2
import numpy as np

_ALMOST_SQUARE = 0.02  # scaling to an even width leaves such pixels
_MAX_RATIO = 16.0  # width of a pixel to its height; more means damage


def rgb_converter(
  stream: av.VideoStream, square_pixels: bool = True
) -> Callable[[av.VideoFrame], np.ndarray]:
  """Returns a function that converts a stream's frames, in their order.

  It returns uint8 RGB [H, W, 3], as displayed: rotated or mirrored by the
  display matrix. With `square_pixels`, frames whose pixels are not square are
  stretched or shrunk horizontally, before any rotation, as ffplay does: the
  height stays, and the width becomes the even number nearest to width x sample
  aspect ratio. A ratio within 2% of 1 is ignored.
  """
  ratio = float(stream.sample_aspect_ratio or 1) if square_pixels else 1.0
  if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
    ratio = 1.0
  stretched = abs(ratio - 1) > _ALMOST_SQUARE
  orient = None
  reformat = av.video.reformatter.VideoReformatter().reformat  # reuses tables

  def convert(frame: av.VideoFrame) -> np.ndarray:
    nonlocal orient
    # Key frames only: reading side data makes a reference cycle, which keeps
    # hundreds of frames in memory until the garbage collector runs.
    if orient is None or frame.key_frame:
      orient = _display_transform(frame)
    image = reformat(frame, format='rgb24').to_ndarray()
    if stretched:
      size = 2 * max(1, round(frame.width * ratio / 2)), frame.height
      method = cv2.INTER_LINEAR if ratio > 1 else cv2.INTER_AREA
      image = cv2.resize(image, size, interpolation=method)
    return orient(image)

  return convert


def _display_transform(
  frame: av.VideoFrame,
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function that applies the frame's display matrix to [H, W, 3]."""
  matrices = [
    np.frombuffer(data, '<i4').tolist()
    for data in frame.side_data
    if data.type.name == 'DISPLAYMATRIX'
  ]
  if not matrices:
    return lambda image: image
  # x' = a x + c y, y' = b x + d y, in units of 1 / 65536.
  a, b, _, c, d = matrices[0][:5]
  swapped = abs(b) > abs(a)
  x, y = (c, b) if swapped else (a, d)
  rows, columns = (slice(None, None, -1 if n < 0 else 1) for n in (y, x))

  def transform(image: np.ndarray) -> np.ndarray:
    image = np.swapaxes(image, 0, 1) if swapped else image
    return np.ascontiguousarray(image[rows, columns])

  return transform

"""Display matrices of video files: rotation and mirroring."""

from collections.abc import Callable

import av
import numpy as np


def display_transform(
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

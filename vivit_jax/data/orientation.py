"""Display matrices of video files: rotation and mirroring."""

from collections.abc import Callable

import av
import numpy as np


def display_transform(
  frame: av.VideoFrame,
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function that applies the frame's display matrix to [H, W, 3]."""
  for data in frame.side_data:
    if data.type.name == 'DISPLAYMATRIX':
      # x' = a x + c y, y' = b x + d y, in units of 1 / 65536.
      a, b, _, c, d = np.frombuffer(data, '<i4')[:5] / 65536
      if a * d < b * c:
        return lambda image: np.ascontiguousarray(_mirrored(image, a, b, d))
  quarters = round(frame.rotation / 90) % 4  # anticlockwise, as in np.rot90
  if not quarters:
    return lambda image: image
  return lambda image: np.ascontiguousarray(np.rot90(image, quarters))


def _mirrored(image: np.ndarray, a: float, b: float, d: float) -> np.ndarray:
  """Applies a display matrix that mirrors, as selfie cameras write it."""
  if abs(a) > abs(b):
    return image[:, ::-1] if a < d else image[::-1]
  transposed = np.swapaxes(image, 0, 1)
  return transposed if b > 0 else transposed[::-1, ::-1]

"""Frames under heat maps, as pixels."""

import cv2
import einops
import matplotlib
import numpy as np

# From dark to bright, evenly in lightness: the same for colour-blind eyes, in
# grey, and beside itself in a colour bar.
COLOURS = matplotlib.colormaps['inferno']
_SHARE_OF_HEAT = 0.62  # of an overlay; the rest is the frame in grey
_LEAST_SPAN = 0.2  # of a scale, lest rounding errors of an even map glow


def scale(heat: np.ndarray) -> tuple[float, float]:
  """Returns the values that are to be darkest and brightest.

  The least and the greatest, but never so close that an even map, of 1, seems
  uneven.

  Args:
    heat: of any shape.
  """
  low, high = float(heat.min()), float(heat.max())
  missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
  return low - missing, high + missing


def enlarged(frames: np.ndarray, pixels: int) -> np.ndarray:
  """Returns frames uint8 [T, H, W, 3] that are at least so many pixels wide.

  Each of their pixels becomes a square, so that they are not smoothed.
  """
  factor = max(1, round(pixels / frames.shape[2]))
  return einops.repeat(frames, 'T H W C -> T (H i) (W j) C', i=factor, j=factor)


def overlay(
  frames: np.ndarray, heat: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
  """Returns frames in grey under the colours of their heat.

  Args:
    frames: uint8 [T, H, W, 3].
    heat: float [T, h, w]; it is smoothed to the size of the frames.
    limits: values of the darkest and of the brightest colour.

  Returns:
    uint8 [T, H, W, 3].
  """
  size = frames.shape[2], frames.shape[1]
  low, high = limits
  covered = []
  for frame, map_of_frame in zip(frames, heat, strict=True):
    smooth = cv2.resize(
      map_of_frame.astype(np.float32), size, interpolation=cv2.INTER_LINEAR
    )
    colours = COLOURS(np.clip((smooth - low) / (high - low), 0, 1))[..., :3]
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] / 255
    mixed = _SHARE_OF_HEAT * colours + (1 - _SHARE_OF_HEAT) * grey
    covered.append(np.round(mixed * 255).astype(np.uint8))
  return np.stack(covered)

"""Sampling of videos and of boxes; cutting and resizing of crops."""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from vivit_jax.augment import randaugment_geometry
from vivit_jax.config import DataConfig

_AREA_TRIES = 10  # candidate boxes, as in torchvision


def balanced(classes: np.ndarray) -> np.ndarray:
  """Returns sampling probabilities of videos, float64 [n].

  Each class that has videos gets the same total probability. `classes` is that
  of each video, int [n].
  """
  counts = np.bincount(classes)
  return 1.0 / (counts[classes] * np.count_nonzero(counts))


@dataclasses.dataclass(frozen=True)
class Box:
  """A rectangle in a frame, in the frame's pixels; sides are at least 1."""

  top: int
  left: int
  height: int
  width: int


def random_box(
  size: tuple[int, int], data: DataConfig, rng: np.random.Generator
) -> Box:
  """Returns the box of a training crop, in the frame's pixels.

  Cutting this box and resizing it to `data.crop` is one interpolation. It
  replaces a resize of the frame to a short side of `data.short_side` times a
  random scale (paper, table 7: scale jitter), and a crop at a random position.
  With `data.crop_area`, see `_area_box`. `size` is the frame's, as [H, W].
  """
  if data.crop_area is not None:
    return _area_box(size, data.crop_area, data.crop_aspect, rng)
  low, high = data.scale_jitter
  if data.scale_jitter_uniform == 'inverse':
    scale = 1 / rng.uniform(1 / high, 1 / low)
  else:
    scale = rng.uniform(low, high)
  height, width = _box_size(size, data.crop, data.short_side * scale)
  top = rng.integers(size[0] - height + 1)
  left = rng.integers(size[1] - width + 1)
  return Box(int(top), int(left), height, width)


def _area_box(
  size: tuple[int, int],
  area: tuple[float, float],
  aspect: tuple[float, float],
  rng: np.random.Generator,
) -> Box:
  """Returns the box of torchvision's RandomResizedCrop (arXiv 1409.4842).

  The area, relative to the frame, is uniform; the aspect, width / height, is
  log-uniform, and the position uniform. The first of 10 candidates that fits
  into the frame is taken. If none fits, the box is the largest one in the
  centre whose aspect is within the limits.
  """
  rows, columns = size
  low, high = aspect
  for _ in range(_AREA_TRIES):
    pixels = rows * columns * rng.uniform(*area)
    ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
    height = round(math.sqrt(pixels / ratio))
    width = round(math.sqrt(pixels * ratio))
    if 0 < height <= rows and 0 < width <= columns:
      top, left = rng.integers((rows - height + 1, columns - width + 1))
      return Box(int(top), int(left), height, width)
  height = min(rows, max(1, round(columns / low)))
  width = min(columns, max(1, round(rows * high)))
  return Box((rows - height) // 2, (columns - width) // 2, height, width)


def uniform_boxes(
  size: tuple[int, int], crop: tuple[int, int], short_side: int, count: int
) -> list[Box]:
  """Returns the centre box, or 3 boxes evenly spaced along the longer side.

  Args:
    size: height and width of the frame, in pixels.
    crop: height and width of a crop, in pixels after the resize.
    short_side: of the frame after the resize, in pixels.
    count: 1 or 3.
  """
  height, width = _box_size(size, crop, short_side)
  shares = [0.5] if count == 1 else np.linspace(0, 1, count)
  wide = size[1] >= size[0]
  return [
    Box(
      round((size[0] - height) * (0.5 if wide else share)),
      round((size[1] - width) * (share if wide else 0.5)),
      height,
      width,
    )
    for share in shares
  ]


def crop_and_resize(
  frame: np.ndarray,
  box: Box,
  crop: tuple[int, int],
  out: np.ndarray | None = None,
) -> np.ndarray:
  """Returns a box of a frame, resized, uint8 [*crop, 3].

  Shrinking averages areas; all else is bilinear.

  Args:
    frame: uint8 [H, W, 3].
    box: in the frame.
    crop: height and width of the result, in pixels.
    out: uint8 [*crop, 3], C-contiguous, to write the result to. None for a new
      array, or a view of `frame` if nothing is resized.
  """
  part = frame[box.top : box.top + box.height, box.left : box.left + box.width]
  if part.shape[:2] == tuple(crop):
    if out is None:
      return part
    out[:] = part
    return out
  shrinks = box.height > crop[0] and box.width >= crop[1]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(part, (crop[1], crop[0]), dst=out, interpolation=method)


def cutter(
  box: Box, crop: tuple[int, int], layers: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], None]:
  """Returns a function (frame, out) -> None that crops, resizes and warps.

  Crop, resize and RandAugment's geometric operations are one bilinear
  interpolation. It would alias for a box at least twice as high as the crop, or
  more than twice as wide, so such a box is first shrunk to the crop's size.
  `frame` is uint8 [H, W, 3]; `out` is uint8 [*crop, 3], C-contiguous; `layers`
  is from `randaugment.draw`, whose colour operations are ignored.
  """
  averaged = box.height >= 2 * crop[0] or box.width > 2 * crop[1]
  size = crop if averaged else (box.height, box.width)
  warp = randaugment_geometry.warper(layers, size, crop)

  def cut(frame: np.ndarray, out: np.ndarray) -> None:
    if warp is None:
      crop_and_resize(frame, box, crop, out=out)
    else:
      warp(crop_and_resize(frame, box, size), out)

  return cut


def _box_size(
  size: tuple[int, int], crop: tuple[int, int], short_side: float
) -> tuple[int, int]:
  """Returns height and width of the crop in the frame's pixels.

  A crop larger than the frame is shrunk; its aspect ratio is kept.
  """
  ratio = min(size) / short_side
  fit = min(1.0, *(whole / (part * ratio) for whole, part in zip(size, crop)))
  height, width = (
    min(whole, max(1, math.floor(part * ratio * fit + 0.5)))
    for whole, part in zip(size, crop)
  )
  return height, width

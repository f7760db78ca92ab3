"""Which frames make a clip, and which box of them is looked at.

Pure functions of sizes and a random generator: nothing here reads a video.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from vivit_jax.augment import randaugment_geometry


def span(frames: int, stride: float) -> int:
  """Returns how many frames of the video a clip reaches over."""
  return int(_offsets(frames, stride)[-1]) + 1


def random_clip(
  available: int,
  frames: int,
  stride: float,
  rng: np.random.Generator,
  short: str = 'loop',
) -> np.ndarray:
  """Returns frame numbers of a clip with a random start, int64 [frames].

  Args:
    available: frames of the video.
    frames: of the clip.
    stride: frames of the video from one of the clip to the next; where it is
      no whole number, each is the nearest one.
    rng: draws the start.
    short: what a video of fewer frames than `span` does after its last one:
      'loop', from the beginning, or 'hold'.
  """
  starts = max(1, available - span(frames, stride) + 1)
  start = rng.integers(starts)
  return _within(start + _offsets(frames, stride), available, short)


def uniform_clips(
  available: int, frames: int, stride: float, views: int, short: str = 'loop'
) -> np.ndarray:
  """Returns frame numbers of evenly spaced clips, int64 [views, frames].

  The first clip begins with the video and the last one ends with it; a single
  one lies in the middle (paper, section 4.1, as in the reference). Arguments
  as of `random_clip`.
  """
  room = max(0, available - span(frames, stride))
  if views == 1:
    starts = np.array([room // 2])
  else:
    starts = np.round(np.linspace(0, room, views)).astype(np.int64)
  return _within(starts[:, None] + _offsets(frames, stride), available, short)


def _offsets(frames: int, stride: float) -> np.ndarray:
  return np.floor(stride * np.arange(frames) + 0.5).astype(np.int64)


def _within(numbers: np.ndarray, available: int, short: str) -> np.ndarray:
  if short == 'hold':
    return np.minimum(numbers, available - 1)
  return numbers % available


def balanced(classes: np.ndarray) -> np.ndarray:
  """Returns likelihoods float64 [n] that draw every class equally often.

  Args:
    classes: of each video, int [n]; those without videos are never drawn.
  """
  counts = np.bincount(classes)
  return 1.0 / (counts[classes] * np.count_nonzero(counts))


@dataclasses.dataclass(frozen=True)
class Box:
  """A part of a frame, in its own pixels; sides are at least 1."""

  top: int
  left: int
  height: int
  width: int


def random_box(
  size: tuple[int, int],
  crop: tuple[int, int],
  short_side: int,
  scale_jitter: tuple[float, float],
  rng: np.random.Generator,
) -> Box:
  """Returns the part of a frame that a random crop shows.

  The frame is thought of as resized to a short side of `short_side` times a
  scale drawn evenly from `scale_jitter`, and a crop is cut from it anywhere
  (paper, table 7: scale jitter). Drawing the box in the frame's own pixels
  makes one resize of it.

  Args:
    size: height and width of the frame, in pixels.
    crop: height and width of the crop, in pixels after the resize.
    short_side: in pixels after the resize, before the jitter.
    scale_jitter: lowest and highest scale.
    rng: draws.
  """
  height, width = _box_size(size, crop, short_side * rng.uniform(*scale_jitter))
  top = rng.integers(size[0] - height + 1)
  left = rng.integers(size[1] - width + 1)
  return Box(int(top), int(left), height, width)


def uniform_boxes(
  size: tuple[int, int], crop: tuple[int, int], short_side: int, count: int
) -> list[Box]:
  """Returns the centre (count 1), or 3 boxes evenly along the longer side.

  Args:
    size: height and width of the frame, in pixels.
    crop: height and width of a crop, in pixels after the resize.
    short_side: of the frame after the resize, in pixels.
    count: 1 or 3.
  """
  height, width = _box_size(size, crop, short_side)
  places = [0.5] if count == 1 else np.linspace(0, 1, count)
  wide = size[1] >= size[0]
  return [
    Box(
      round((size[0] - height) * (0.5 if wide else place)),
      round((size[1] - width) * (place if wide else 0.5)),
      height,
      width,
    )
    for place in places
  ]


def crop_and_resize(
  frame: np.ndarray,
  box: Box,
  crop: tuple[int, int],
  out: np.ndarray | None = None,
) -> np.ndarray:
  """Returns the box of a frame [H, W, 3] as uint8 [*crop, 3].

  Bilinear where it is enlarged, averaged where it is shrunk.

  Args:
    frame: uint8 [H, W, 3].
    box: the part of it.
    crop: height and width of the result, in pixels.
    out: where to write it, C-contiguous; None for new memory.
  """
  part = frame[box.top : box.top + box.height, box.left : box.left + box.width]
  if part.shape[:2] == tuple(crop):
    if out is None:
      return part
    out[:] = part
    return out
  shrinks = box.height > crop[0]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(part, (crop[1], crop[0]), dst=out, interpolation=method)


def cutter(
  box: Box, crop: tuple[int, int], layers: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], None]:
  """Returns (frame, out) -> None, which fills `out` with the warped box.

  Crop, resize and RandAugment's geometric operations are one interpolation; a
  box of twice the crop or more is averaged down first. The frame is uint8
  [H, W, 3], and `out` uint8 [*crop, 3], C-contiguous.

  Args:
    box: the part of the frames that the clip shows.
    crop: height and width of the result, in pixels.
    layers: float [n, 4], results of `randaugment.draw`; colour operations are
      left out.
  """
  averaged = box.height >= 2 * crop[0]
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
  """Returns the crop's height and width in the frame's own pixels.

  A crop that is larger than the frame is shrunk in both directions alike.
  """
  ratio = min(size) / short_side
  fit = min(1.0, *(whole / (part * ratio) for whole, part in zip(size, crop)))
  height, width = (
    min(whole, max(1, math.floor(part * ratio * fit + 0.5)))
    for whole, part in zip(size, crop)
  )
  return height, width

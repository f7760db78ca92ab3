"""Sampling of clips (frame numbers) and crops (boxes), and cutting of crops.

Nothing here reads a video file.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from vivit_jax.augment import randaugment_geometry

# Added before rounding down: what is whole but for rounding errors stays whole.
_ROUNDING = 1e-6  # frames


def span(frames: int, stride: float) -> int:
  """Returns how many frames of the video a clip spans, first to last."""
  return int(_offsets(frames, stride)[-1]) + 1


def random_clip(
  available: int,
  frames: int,
  stride: float,
  rng: np.random.Generator,
  short: str = 'loop',
) -> np.ndarray:
  """Returns the frame numbers of a clip with a random start, int64 [frames].

  Args:
    available: number of frames in the video.
    frames: number of frames in the clip.
    stride: step between frames of the clip, in frames of the video. With a
      fractional stride, frame numbers are rounded.
    rng: draws the start.
    short: what follows the last frame of a video shorter than `span`: 'loop'
      restarts the video, 'hold' repeats the last frame.
  """
  starts = max(1, available - span(frames, stride) + 1)
  start = rng.integers(starts)
  return _within(start + _offsets(frames, stride), available, short)


def uniform_clips(
  available: int,
  frames: int,
  stride: float,
  views: int,
  views_from: str = 'middle',
  short: str = 'loop',
) -> np.ndarray:
  """Returns the frame numbers of evenly spaced clips, int64 [views, frames].

  Args:
    available, frames, stride, short: as in `random_clip`.
    views: number of clips.
    views_from: 'middle': the first clip begins with the video, and the last one
      ends with it; a single clip is centred (paper, section 4.1, as in the
      reference). 'start': clip k begins at k / views of the last possible
      start, as in SlowFast.
  """
  starts = _starts(available - span(frames, stride), views, views_from)
  nearest = views > 1 and views_from == 'middle'
  starts = np.round(starts) if nearest else np.floor(starts)
  numbers = starts.astype(np.int64)[:, None] + _offsets(frames, stride)
  return _within(numbers, available, short)


def span_covered(frames: int, stride: float) -> int:
  """Returns how many frames of the video a clip of `random_span` needs."""
  return max(1, math.floor(frames * stride + _ROUNDING))


def random_span(
  available: int,
  frames: int,
  stride: float,
  rng: np.random.Generator,
  short: str = 'loop',
) -> np.ndarray:
  """Returns the frame numbers of a clip spread over a span, int64 [frames].

  They are T evenly spaced numbers, rounded down, from s to s + c - 1, where
  c = T x stride, as in SlowFast. s is uniform and real. Arguments as in
  `random_clip`.
  """
  start = rng.uniform(0, max(0, available - frames * stride))
  return _spread_over(np.array([start]), available, frames, stride, short)[0]


def uniform_spans(
  available: int,
  frames: int,
  stride: float,
  views: int,
  views_from: str = 'middle',
  short: str = 'loop',
) -> np.ndarray:
  """Returns evenly spaced clips as of `random_span`, int64 [views, frames].

  Arguments as in `uniform_clips`; starts are not rounded.
  """
  starts = _starts(available - frames * stride, views, views_from)
  return _spread_over(starts, available, frames, stride, short)


def _starts(last: float, views: int, views_from: str) -> np.ndarray:
  """Returns the starts of clips, real, of which `last` is the last possible."""
  last = max(0, last)
  if views_from == 'start':
    return last * np.arange(views) / views
  return np.linspace(0, last, views) if views > 1 else np.array([last / 2])


def _spread_over(
  starts: np.ndarray, available: int, frames: int, stride: float, short: str
) -> np.ndarray:
  """Returns the frames of spans with these starts, int64 [views, frames]."""
  offsets = np.linspace(0, max(0, frames * stride - 1), frames)
  numbers = np.floor(starts[:, None] + offsets + _ROUNDING).astype(np.int64)
  return _within(numbers, available, short)


def _offsets(frames: int, stride: float) -> np.ndarray:
  return np.floor(stride * np.arange(frames) + 0.5).astype(np.int64)


def _within(numbers: np.ndarray, available: int, short: str) -> np.ndarray:
  if short == 'hold':
    return np.minimum(numbers, available - 1)
  return numbers % available


def balanced(classes: np.ndarray) -> np.ndarray:
  """Returns sampling probabilities of videos that balance their classes.

  Args:
    classes: class of each video, int [n].

  Returns:
    float64 [n]; each class that has videos gets the same total probability.
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
  size: tuple[int, int],
  crop: tuple[int, int],
  short_side: int,
  scale_jitter: tuple[float, float],
  rng: np.random.Generator,
  uniform: str = 'factor',
) -> Box:
  """Returns the box of a random crop, in the frame's pixels.

  Cutting this box and resizing it to `crop` is one interpolation. It replaces
  a resize of the frame to a short side of `short_side` times a random scale
  (paper, table 7: scale jitter), and a crop at a random position.

  Args:
    size: height and width of the frame, in pixels.
    crop: height and width of the crop, in pixels after the resize.
    short_side: short side of the resized frame before jitter, in pixels.
    scale_jitter: lowest and highest scale.
    rng: draws scale and position.
    uniform: what is uniform: the scale ('factor'), or 1 / scale ('inverse').
  """
  low, high = scale_jitter
  if uniform == 'inverse':
    scale = 1 / rng.uniform(1 / high, 1 / low)
  else:
    scale = rng.uniform(low, high)
  height, width = _box_size(size, crop, short_side * scale)
  top = rng.integers(size[0] - height + 1)
  left = rng.integers(size[1] - width + 1)
  return Box(int(top), int(left), height, width)


def uniform_boxes(
  size: tuple[int, int], crop: tuple[int, int], short_side: int, count: int
) -> list[Box]:
  """Returns the centre box, or 3 boxes evenly spaced along the longer side.

  Args:
    size: height and width of the frame, in pixels.
    crop: height and width of a crop, in pixels after the resize.
    short_side: short side of the resized frame, in pixels.
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


def add_frame(
  clips: np.ndarray,
  numbers: np.ndarray,
  number: int,
  image: np.ndarray,
  short_side: int,
) -> None:
  """Writes a decoded frame into all evaluation clips that contain it.

  Args:
    clips: uint8 [views, crops, T, *crop, 3], written in place.
    numbers: frame numbers of each temporal view, int [views, T].
    number: frame number of the image.
    image: uint8 [H, W, 3].
    short_side: short side of the frame after the resize, in pixels.
  """
  views, times = np.nonzero(numbers == number)
  crop = clips.shape[3:5]
  boxes = uniform_boxes(image.shape[:2], crop, short_side, clips.shape[1])
  for index, box in enumerate(boxes):
    clips[views, index, times] = crop_and_resize(image, box, crop)


def cutter(
  box: Box, crop: tuple[int, int], layers: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], None]:
  """Returns a function (frame, out) -> None that crops, resizes and warps.

  Crop, resize and RandAugment's geometric operations are one bilinear
  interpolation. It would alias for a box at least twice as high as the crop, or
  more than twice as wide, so such a box is first shrunk to the crop's size.
  `frame` is uint8 [H, W, 3]; `out` is uint8 [*crop, 3], C-contiguous.

  Args:
    box: the part of each frame to cut.
    crop: height and width of the result, in pixels.
    layers: float [layers, 4] from `randaugment.draw`; colour operations are
      ignored.
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

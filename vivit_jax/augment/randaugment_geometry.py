"""RandAugment's geometric operations, on the host: one affine warp per clip."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from vivit_jax.augment import randaugment


def warper(
  layers: np.ndarray, size: tuple[int, int], crop: tuple[int, int]
) -> Callable[[np.ndarray, np.ndarray], None] | None:
  """Returns a function (part, out) -> None that warps `part` into `out`.

  The resize and all geometric operations are one matrix and one bilinear
  interpolation. Pixels from outside the part are grey, as in TensorFlow.

  Args:
    layers: float [layers, 4] from `randaugment.draw`.
    size: height and width of `part`, uint8 [*size, 3].
    crop: height and width of `out`, uint8 [*crop, 3], C-contiguous.

  Returns:
    The function, or None if no operation is geometric.
  """
  geometry = matrix(layers, crop)
  if geometry is None:
    return None
  total = _resize(crop, size) @ geometry
  outside = _outside(geometry, crop)

  def warp(part: np.ndarray, out: np.ndarray) -> None:
    cv2.warpAffine(
      part,
      total[:2],
      (crop[1], crop[0]),
      dst=out,
      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
      borderMode=cv2.BORDER_REPLICATE,
    )
    out[outside] = randaugment.GREY

  return warp


def _resize(crop: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
  """Returns the matrix from pixel coordinates of the crop to those of the part.

  Integer coordinates are pixel centres, so the image's corner is at -1/2.
  """
  scale_y, scale_x = size[0] / crop[0], size[1] / crop[1]
  return np.array(
    [
      [scale_x, 0.0, (scale_x - 1.0) / 2],
      [0.0, scale_y, (scale_y - 1.0) / 2],
      [0.0, 0.0, 1.0],
    ]
  )


def _outside(geometry: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
  """Returns bool [*crop], true for pixels taken from outside the crop."""
  rows, columns = np.mgrid[: crop[0], : crop[1]]
  pixels = np.stack([columns, rows, np.ones(crop)], axis=-1)
  x, y = np.moveaxis(pixels @ geometry[:2].T, -1, 0)
  inside = (x >= -0.5) & (x < crop[1] - 0.5) & (y >= -0.5) & (y < crop[0] - 0.5)
  return ~inside


def matrix(layers: np.ndarray, crop: tuple[int, int]) -> np.ndarray | None:
  """Returns one matrix for all geometric operations; None if there are none.

  Args:
    layers: float [layers, 4] from `randaugment.draw`.
    crop: height and width, in pixels.

  Returns:
    float64 [3, 3]. It maps (x, y, 1) of a pixel in the warped crop to where
    that pixel comes from in the crop. Layer i reads the output of layer i - 1,
    so its matrix is a factor on the right.
  """
  total = None
  for number, argument, *_ in layers:
    name = randaugment.OPERATIONS[int(number)]
    if name in randaugment.GEOMETRY:
      factor = _matrix(name, float(argument), crop)
      total = factor if total is None else total @ factor
  return total


def _matrix(
  operation: str, argument: float, crop: tuple[int, int]
) -> np.ndarray:
  """Returns TensorFlow's matrix of one operation.

  Rotate is about the centre. Shear fixes the first row or column. Translate
  moves the image left or up if the argument is positive.
  """
  height, width = crop
  result = np.eye(3)
  match operation:
    case 'Rotate':
      cos, sin = (f(math.radians(argument)) for f in (math.cos, math.sin))
      result[:2, :2] = [[cos, -sin], [sin, cos]]
      centre = np.array([(width - 1) / 2, (height - 1) / 2])
      result[:2, 2] = centre - result[:2, :2] @ centre
    case 'ShearX':
      result[0, 1] = argument
    case 'ShearY':
      result[1, 0] = argument
    case 'TranslateX':
      result[0, 2] = argument * width
    case 'TranslateY':
      result[1, 2] = argument * height
  return result

"""RandAugment's geometric operations on the host: one affine warp a clip."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from vivit_jax.augment import randaugment


def warper(
  layers: np.ndarray, size: tuple[int, int], crop: tuple[int, int]
) -> Callable[[np.ndarray, np.ndarray], None] | None:
  """Returns (part, out) -> None, which warps a part of a frame into `out`.

  Resize and all geometric operations are one matrix, and one bilinear
  interpolation. Pixels from outside the part are grey, as in TensorFlow.

  Args:
    layers: float [n, 4], results of `randaugment.draw`.
    size: height and width of the parts, uint8 [*size, 3].
    crop: height and width of `out`, uint8 [*crop, 3], C-contiguous.

  Returns:
    The warp, or None where no operation is geometric.
  """
  geometry = matrix(layers, crop)
  if geometry is None:
    return None
  whole = _resize(crop, size) @ geometry
  outside = _outside(geometry, crop)

  def warp(part: np.ndarray, out: np.ndarray) -> None:
    cv2.warpAffine(
      part,
      whole[:2],
      (crop[1], crop[0]),
      dst=out,
      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
      borderMode=cv2.BORDER_REPLICATE,
    )
    out[outside] = randaugment.GREY

  return warp


def _resize(crop: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
  """Returns the matrix from pixels of the crop to those of a part.

  Pixels are squares round whole coordinates, so that the corner is at -1/2.
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
  """Returns bool [*crop], true where a pixel comes from outside the crop."""
  rows, columns = np.mgrid[: crop[0], : crop[1]]
  places = np.stack([columns, rows, np.ones(crop)], axis=-1)
  x, y = np.moveaxis(places @ geometry[:2].T, -1, 0)
  inside = (x >= -0.5) & (x < crop[1] - 0.5) & (y >= -0.5) & (y < crop[0] - 0.5)
  return ~inside


def matrix(layers: np.ndarray, crop: tuple[int, int]) -> np.ndarray | None:
  """Returns where each pixel of the result comes from, or None if from itself.

  Args:
    layers: float [n, 4], results of `randaugment.draw`.
    crop: height and width, in pixels.

  Returns:
    float64 [3, 3]: (x, y, 1) of the warped crop to that of the crop. Layer i
    takes its pixels from the result of layer i - 1, so that its matrix stands
    to the right.
  """
  whole = None
  for number, argument, *_ in layers:
    name = randaugment.OPERATIONS[int(number)]
    if name in randaugment.GEOMETRY:
      one = _matrix(name, float(argument), crop)
      whole = one if whole is None else whole @ one
  return whole


def _matrix(
  operation: str, argument: float, crop: tuple[int, int]
) -> np.ndarray:
  """Returns the matrix of one operation, as TensorFlow has it.

  Rotate turns about the centre, Shear keeps the first row or column, Translate
  moves the picture left or up where its argument is above 0.
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

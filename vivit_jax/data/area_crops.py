"""Random crops of a drawn area and aspect (Szegedy et al., arXiv 1409.4842)."""

import math

import numpy as np

from vivit_jax.data.sampling import Box

_TRIES = 10  # candidate boxes, as in torchvision


def random_box(
  size: tuple[int, int],
  area: tuple[float, float],
  aspect: tuple[float, float],
  rng: np.random.Generator,
) -> Box:
  """Returns the box of a random crop, as torchvision's RandomResizedCrop.

  The area is uniform, the aspect log-uniform and the position uniform. The
  first of 10 candidates that fits into the frame is taken. If none fits, the
  box is the largest one in the centre whose aspect is within the limits.

  Args:
    size: height and width of the frame, in pixels.
    area: min and max area, relative to the frame.
    aspect: min and max width / height, in pixels of the frame.
    rng: draws area, aspect and position.
  """
  rows, columns = size
  low, high = aspect
  for _ in range(_TRIES):
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

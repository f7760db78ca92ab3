"""Video Swin's weights: sizes, initialisation from images, and resizing."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.models import resize
from vivit_jax.models.family import Grid, Resized, Resizing
from vivit_jax.models.pixels import IMAGENET

Arrays = Mapping[str, np.ndarray]
IMAGE_SWIN = 'image Swin'  # of `Weights.models`
TABLE = 'relative_position_bias_table'
# Config section `data` of the models trained on Kinetics.
DATA = {
  'frames': 32,
  'crop': (224, 224),
  'short_side': 224,
  **IMAGENET,
}


@dataclasses.dataclass(frozen=True)
class Size:
  """Width of the first stage; blocks and attention heads of each stage."""

  width: int
  depths: tuple[int, ...]
  attention_heads: tuple[int, ...]


SIZES = {
  'T': Size(96, (2, 2, 6, 2), (3, 6, 12, 24)),
  'S': Size(96, (2, 2, 18, 2), (3, 6, 12, 24)),
  'B': Size(128, (2, 2, 18, 2), (4, 8, 16, 32)),
  'L': Size(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


def sides_of(window: Grid) -> Grid:
  """Returns the number of distances along each axis of a window."""
  t, h, w = (2 * side - 1 for side in window)
  return t, h, w


def _image_window(table: np.ndarray) -> int:
  """Returns height and width of an image model's window."""
  return (math.isqrt(len(table)) + 1) // 2


def _resized(table: np.ndarray, old: Grid, new: Grid) -> np.ndarray:
  """Resizes a table [rows, heads]: linear in time, bicubic in space."""
  value = table.reshape(*old, -1)
  for axis, kind in enumerate(('linear', 'cubic', 'cubic')):
    if old[axis] != new[axis]:
      value = resize.interpolate(value, axis, new[axis], kind)
  return value.reshape(-1, table.shape[1])


def resize_kernel(array: Resizing) -> Resized:
  """Inflates an image model's patch kernel (paper, section 3.3).

  It is repeated over the frames of a tubelet and divided by their number.
  """
  target = dataclasses.replace(array.target, kernel='inflation')
  return resize.tubelet_kernel(dataclasses.replace(array, target=target))


def resize_table(array: Resizing) -> Resized:
  """Resizes a bias table to another window.

  An image model's table is resized in space as in the official code, and then
  repeated over all distances in time (paper, section 3.3). A video model's is
  resized if the source states its window.

  Raises:
    UserError: the source's window has a table of another length.
  """
  value, ours = array.value, array.target.model.options.window
  if value.ndim != 2:
    return None, ''
  new, how = sides_of(ours), []
  image = IMAGE_SWIN in array.source.models
  window = array.source.options.get('window', ours)
  if image:
    side = _image_window(value)
    window = 1, side, side
  old = sides_of(window)
  if math.prod(old) != len(value):
    raise UserError(
      f'{array.name} has {len(value)} rows, but the table of a window '
      f'{window} has {math.prod(old)}: set init_options.window to the '
      "weights' window, or get the file again."
    )
  if image:
    value = _resized(value, old, (1, *new[1:]))
    value = np.tile(value, (new[0], 1))
    how = [f'repeated over {new[0]} distances in time']
  elif old != new:
    value = _resized(value, old, new)
  if old[1:] != new[1:] or (old != new and not image):
    names = ('x'.join(map(str, sides)) for sides in (window, ours))
    how.append(f'window {" -> ".join(names)}')
  return value, ', '.join(how)


RESIZE = (
  ('embedding/kernel', resize_kernel),
  (f'.*/{TABLE}', resize_table),
)


def size_of(arrays: Arrays) -> Size:
  """Returns the sizes of a Video Swin or image Swin from its arrays.

  Raises:
    KeyError: an array is missing.
  """
  depths: dict[str, set[int]] = {}
  for name in arrays:
    if match := re.match(r'(stage\d+)/encoderblock_(\d+)/', name):
      depths.setdefault(match[1], set()).add(int(match[2]))
  return Size(
    arrays['embedding/kernel'].shape[-1],
    tuple(len(depths[f'stage{stage}']) for stage in range(len(depths))),
    tuple(
      arrays[f'stage{stage}/encoderblock_0/{TABLE}'].shape[1]
      for stage in range(len(depths))
    ),
  )


def infer_sizes(arrays: Arrays) -> dict[str, object]:
  """Returns option -> size; `Family.infer_sizes`."""
  return dataclasses.asdict(size_of(arrays))


def describe(arrays: Arrays) -> dict[str, str]:
  """Returns blocks, widths, heads and tubelet; `Family.describe`."""
  size, kernel = size_of(arrays), arrays['embedding/kernel']
  stages = range(len(size.depths))
  lines = {
    'blocks': ', '.join(map(str, size.depths)),
    'widths': ', '.join(str(size.width << stage) for stage in stages),
    'attention heads': ', '.join(map(str, size.attention_heads)),
    'patch' if kernel.ndim == 4 else 'tubelet': 'x'.join(
      map(str, kernel.shape[:-2])
    ),
  }
  if kernel.ndim == 4:  # a video model states its window
    side = _image_window(arrays[f'stage0/encoderblock_0/{TABLE}'])
    lines['window'] = f'{side}x{side}'
  return lines

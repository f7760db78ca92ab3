"""TimeSformer's weights: initialisation from images, and resizing."""

import re
from collections.abc import Mapping
from typing import Any

import einops
import numpy as np

from vivit_jax.models import classifier, image_vit, resize
from vivit_jax.models.family import Resized, Resizing, Target
from vivit_jax.models.weights import IMAGE_VIT, Weights

Arrays = Mapping[str, np.ndarray]
POSITIONS = f'Transformer/{image_vit.POSITIONS}'
TIME = 'Transformer/posembed_input/time_embedding'
# Config section `data` of all released models.
DATA = {
  'frames': 8,
  'crop': (224, 224),
  'mean': (0.45, 0.45, 0.45),
  'std': (0.225, 0.225, 0.225),
}
# Config section `evaluation`: the official test of all released models.
EVALUATION = {'temporal_views': 1, 'spatial_crops': 3, 'views_from': 'start'}
# Frames of a clip -> step between them, in frames of a video of 30 frames a
# second, in the releases for Kinetics.
_RATES = {8: 32, 16: 16, 96: 4}
# Arrays of attention over time that start as those of attention over space.
_COPIED = (
  (
    r'(.*)/MultiHeadDotProductAttention_0/(.*)',
    r'\1/MultiHeadDotProductAttention_temporal/\2',
  ),
  (r'(.*)/LayerNorm_0/(.*)', r'\1/LayerNorm_temporal/\2'),
)


def from_image(arrays: Arrays, target: Target) -> dict[str, np.ndarray]:
  """Returns an image ViT's arrays, some of them also for attention over time.

  As in the official code; the image model's head is left out. See
  `Family.initialises_from`.
  """
  result = {n: x for n, x in arrays.items() if 'output_projection' not in n}
  if target.model.options.attention == 'divided':
    for name, array in arrays.items():
      for pattern, copy in _COPIED:
        if match := re.fullmatch(pattern, name):
          result[match.expand(copy)] = array
  return result


def sampling(
  frames: int, classes: int | None, rate: int | None
) -> tuple[dict[str, Any], list[str]]:
  """Returns how clips are sampled, config section `data`, and notes.

  Args:
    frames: of a clip.
    classes: of the head; 174 are those of Something-Something v2, whose clips
      have one frame of each segment, in BGR.
    rate: step between frames at 30 frames a second; None if unknown.
  """
  if classes == classifier.SSV2_CLASSES:
    return {'sampling': 'segments', 'channels': 'bgr'}, [
      'the 174 classes are taken for those of Something-Something v2, with '
      'which TimeSformer reads BGR: for RGB, set data.channels in a '
      '--config=FILE'
    ]
  spread = {'sampling': 'span', 'frames_per_second': 30 / (rate or 32)}
  if rate is not None:
    return spread, []
  rate = _RATES.get(frames, 32)
  known = f', as in releases with {frames} frames' if frames in _RATES else ''
  note = (
    f'the weights do not state the step between frames: {rate} at 30 frames a '
    f'second is assumed{known}; for another, set data.frames_per_second to '
    '30 / step in a --config=FILE'
  )
  return spread | {'frames_per_second': 30 / rate}, [note]


def attention_of(arrays: Arrays) -> str:
  """Returns the option `attention` that these arrays belong to."""
  if any('/temporal_fc/' in name for name in arrays):
    return 'divided'
  return 'joint' if TIME in arrays else 'space'


def nearest(value: np.ndarray, axis: int, size: int) -> np.ndarray:
  """Resizes an axis by nearest neighbours: entry i is floor(i old / new).

  In float32, as torch computes the index.
  """
  old = value.shape[axis]
  scale = np.float32(old) / np.float32(size)
  index = np.floor(np.arange(size, dtype=np.float32) * scale).astype(int)
  return np.take(value, np.minimum(index, old - 1), axis)


def resize_positions(array: Resizing) -> Resized:
  """Resizes positions in space [1, n + s, D] by nearest neighbours.

  A TimeSformer's are resized as the official network does in its forward pass:
  in height and width, from the grid that the checkpoint states, else a square
  one; unchanged if the number of patches is the same. An image ViT's are
  resized as the official code loads them: along the sequence of all patches,
  without regard to rows. Adds or drops the class token's position.

  Raises:
    UserError: the source's grid is unknown; see `resize.grid_of`.
  """
  value, initial, source = array.value, array.initial, array.source
  if value.ndim != 3 or value.shape[-1] != initial.shape[-1]:
    return None, ''
  _, h, w = array.target.grid
  has, needs = 'cls' in source.arrays, initial.shape[1] - h * w
  cls, rest = np.split(value, [int(has)], axis=1)
  how = []
  old = rest.shape[1]
  if IMAGE_VIT in source.models:
    if old != h * w:
      rest = nearest(rest, 1, h * w)
      how.append(f'{old} -> {h * w} along the sequence, nearest')
  elif source.grid is not None or old != h * w:
    kernel, patch = (
      source.arrays['embedding/kernel'],
      array.target.model.options,
    )
    guess = resize.same_clip(
      (1, h, w), (1, patch.patch, patch.patch), kernel.shape[:-2]
    )
    grids = resize.PositionGrids(
      (1, h, w), guess, has, source.grid, in_space=True
    )
    _, *theirs = resize.grid_of(old, array.name, grids)
    if theirs != [h, w]:
      rest = einops.rearrange(rest, '1 (h w) D -> h w D', h=theirs[0])
      rest = nearest(nearest(rest, 0, h), 1, w)
      rest = einops.rearrange(rest, 'h w D -> 1 (h w) D')
      how.append(f'{theirs[0]} x {theirs[1]} -> {h} x {w}, nearest')
  if needs and not has:
    cls = np.zeros_like(rest[:, :1])
    how.append('zero for the class token')
  if has and not needs:
    cls = cls[:, :0]
    how.append('without the class token')
  return np.concatenate([cls, rest], axis=1), ', '.join(how)


def resize_time(array: Resizing) -> Resized:
  """Resizes positions in time [1, T, D] by nearest neighbours."""
  value, frames = array.value, array.initial.shape[1]
  if value.ndim != 3 or value.shape[-1] != array.initial.shape[-1]:
    return None, ''
  if value.shape[1] == frames:
    return value, ''
  how = f'{value.shape[1]} -> {frames} frames, nearest'
  return nearest(value, 1, frames), how


RESIZE = (
  (POSITIONS, resize_positions),
  (TIME, resize_time),
  ('embedding/kernel', resize.tubelet_kernel),
  ('.*/(query|key|value)/(kernel|bias)|.*/out/kernel', resize.split_heads),
)


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del initial
  if '/temporal_fc/' in name and not _over_time(source.arrays):
    return 'zero at first, so attention over time adds nothing'
  if '_temporal/' in name and not _over_time(source.arrays):
    return 'the checkpoint has no attention over time'
  if name == TIME and TIME not in source.arrays:
    return 'the checkpoint has no positions in time'
  if name == 'cls' and name not in source.arrays:
    return 'the checkpoint has no class token'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source
  if name.startswith('pooler/'):
    return 'the model has no representation layer'
  if '/temporal_fc/' in name or '_temporal/' in name:
    if not _over_time(initial):
      return 'the model has no attention over time'
  if name == TIME and TIME not in initial:
    return 'the model has no positions in time'
  if name == 'cls' and name not in initial:
    return 'the model has no class token'
  return None


def _over_time(arrays: Arrays) -> bool:
  return any('_temporal/' in name for name in arrays)


def describe(arrays: Arrays) -> dict[str, str]:
  """Returns attention, blocks, widths, patch, tokens; `Family.describe`."""
  lines = {'attention': attention_of(arrays), **image_vit.describe(arrays)}
  if TIME in arrays and arrays[TIME].ndim == 3:
    lines['tokens'] += f', {arrays[TIME].shape[1]} frames'
  return lines

"""Reads and writes preprocessor_config.json of Hugging Face's video models.

Their processors resize and crop frames, and map a pixel x to
(x * rescale_factor - offset - image_mean) / image_std. Keys that a processor
does not have, such as do_flip_channel_order, change nothing there or here.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from vivit_jax.errors import UserError
from vivit_jax.models.weights import Clip

NAME = 'preprocessor_config.json'
_BILINEAR = 2


@dataclasses.dataclass(frozen=True)
class Processor:
  """A processor class of transformers.

  Attributes:
    names: of the class; the first is the current one.
    short_side: its default, in pixels.
    has_offset: whether pixels are decreased by 1 if the file sets `offset`.
    scale: its default rescale_factor.
    mean, std: used if there is no file, for pixels in [0, 1].
  """

  names: tuple[str, ...]
  short_side: int
  has_offset: bool
  scale: float
  mean: tuple[float, float, float]
  std: tuple[float, float, float]


_HALF = (0.5, 0.5, 0.5)
VIVIT = Processor(
  ('VivitImageProcessor', 'VivitFeatureExtractor'),
  256,  # the reference's
  True,
  1 / 127.5,
  _HALF,
  _HALF,
)
# TimeSformer's too. The mean and std are those of TimeSformer's folders on the
# hub; the class itself has 0.5.
VIDEO_MAE = Processor(
  ('VideoMAEImageProcessor', 'VideoMAEFeatureExtractor'),
  224,
  False,
  1 / 255,
  (0.45, 0.45, 0.45),
  (0.225, 0.225, 0.225),
)
_KINDS = (
  'image_processor_type',
  'feature_extractor_type',
  'video_processor_type',
)
_PIXELS = (
  'do_rescale',
  'rescale_factor',
  'do_normalize',
  'image_mean',
  'image_std',
)


def read(
  pixels: Mapping[str, Any], side: int, processor: Processor = VIVIT
) -> dict[str, Any]:
  """Returns short_side, mean and std of the config section `data`.

  Args:
    pixels: contents of the file; empty if it is missing.
    side: of the model's input, in pixels.
    processor: the model's.

  Raises:
    UserError: a value that is not allowed, or that this package's preprocessing
      cannot follow.
  """
  for key in _KINDS:
    kind = pixels.get(key)
    if kind is not None and kind not in processor.names:
      raise _refused(pixels, key, f'only {processor.names[0]} is supported')
  return {
    'short_side': _short_side(pixels, side, processor),
    **_normalisation(pixels, processor),
  }


def notes(pixels: Mapping[str, Any], processor: Processor = VIVIT) -> list[str]:
  """Returns notes on differences from transformers' pixels."""
  texts = []
  if not pixels and not processor.has_offset:
    texts.append(
      f'there is no {NAME}: mean {processor.mean} and standard deviation '
      f'{processor.std} are assumed, as in released weights; set data.mean and '
      'data.std in a --config=FILE for other values'
    )
  if 'offset' not in pixels and processor.has_offset:
    stated = [key for key in _PIXELS if key in pixels]
    unused = f', and {", ".join(stated)} are not used' if stated else ''
    texts.append(
      f"{NAME} does not set 'offset': pixels are scaled to [-1, 1], as in "
      f'scenic{unused}; to use the file\'s values, add "offset": true '
      '(rescaled pixels are decreased by 1, as transformers does by default) '
      'or false; or set data.mean and data.std in a --config=FILE'
    )
  resample = pixels.get('resample', _BILINEAR)
  if pixels.get('do_resize', True) and resample != _BILINEAR:
    texts.append(
      f'{NAME} has resample {json.dumps(resample)}, which is not used: frames '
      'are shrunk by averaging areas and enlarged bilinearly'
    )
  return texts


def _short_side(
  pixels: Mapping[str, Any], side: int, processor: Processor
) -> int:
  """Returns the short side of resized frames, in pixels; checks the crop."""
  if not pixels:
    return max(processor.short_side, side)
  for key, why in (
    ('do_resize', 'frames are always resized'),
    ('do_center_crop', 'frames are always cropped'),
  ):
    if not _boolean(pixels, key):
      raise _refused(pixels, key, f'{why} for this model')
  crop = pixels.get('crop_size')
  if crop is not None and _sides(crop) != {'height': side, 'width': side}:
    raise _refused(
      pixels, 'crop_size', f'the model takes image_size of config.json, {side}'
    )
  size = pixels.get('size')
  if size is None:
    size = processor.short_side
  if isinstance(size, Mapping):
    size = size.get('shortest_edge')
  if type(size) is not int or size < side:
    raise _refused(
      pixels,
      'size',
      'frames keep their proportions, so it takes {"shortest_edge": N} with N '
      f'at least {side}, the crop',
    )
  return size


def _sides(size: Any) -> Any:
  """Returns the height and width of a crop_size, as transformers reads it."""
  if type(size) is int:
    size = [size, size]
  if isinstance(size, list) and len(size) == 2:
    size = {'height': size[0], 'width': size[1]}
  return size


def _normalisation(
  pixels: Mapping[str, Any], processor: Processor
) -> dict[str, tuple[float, ...]]:
  """Returns a preprocessor's mean and std for pixels in [0, 1].

  The released ViViT was trained without mean and std, although its file has
  them; it is the one without `offset`.
  """
  if not pixels or (processor.has_offset and 'offset' not in pixels):
    return {'mean': processor.mean, 'std': processor.std}
  scale = 255.0
  offset = float(processor.has_offset and _boolean(pixels, 'offset'))
  if _boolean(pixels, 'do_rescale'):
    factor = pixels.get('rescale_factor', processor.scale)
    if not _is_number(factor) or factor <= 0:
      raise _refused(pixels, 'rescale_factor', 'it takes a number above 0')
    scale *= factor
  else:
    offset = 0.0
  mean, std = [0.0] * 3, [1.0] * 3
  if _boolean(pixels, 'do_normalize'):
    mean, std = _channels(pixels, 'image_mean'), _channels(pixels, 'image_std')
    if min(std) <= 0:
      raise _refused(pixels, 'image_std', 'it takes numbers above 0')
  return {
    'mean': tuple((x + offset) / scale for x in mean),
    'std': tuple(x / scale for x in std),
  }


def _channels(pixels: Mapping[str, Any], key: str) -> list[float]:
  """Returns the three values of a key; one number is that of all channels."""
  value = pixels.get(key)
  if value is None:
    value = 0.5
  values = value if isinstance(value, list) else [value] * 3
  if len(values) != 3 or not all(map(_is_number, values)):
    raise _refused(pixels, key, 'it takes a number, or one for each channel')
  return [float(x) for x in values]


def _boolean(pixels: Mapping[str, Any], key: str) -> bool:
  value = pixels.get(key, True)
  if not isinstance(value, bool):
    raise _refused(pixels, key, 'it takes true or false')
  return value


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and math.isfinite(value)


def _refused(pixels: Mapping[str, Any], key: str, why: str) -> UserError:
  value = f'is {json.dumps(pixels[key])}' if key in pixels else 'is missing'
  return UserError(
    f'{key} {value}, but {why}: correct it, or state the preprocessing in a '
    'config, --config=FILE.'
  )


def write(clip: Clip, processor: Processor = VIVIT) -> dict[str, Any]:
  """Returns the file's contents for this package's preprocessing.

  transformers resizes with antialiasing, so pixels are only equal if the short
  side of the video is `clip.short_side` already.
  """
  height, width = clip.crop
  contents = {
    'image_processor_type': processor.names[0],
    'do_resize': True,
    'size': {'shortest_edge': clip.short_side},
    'resample': _BILINEAR,
    'do_center_crop': True,
    'crop_size': {'height': height, 'width': width},
    'do_rescale': True,
    'rescale_factor': 1 / 255,
    'do_normalize': True,
    'image_mean': list(clip.mean),
    'image_std': list(clip.std),
  }
  if processor.has_offset:
    symmetric = clip.mean == clip.std == _HALF  # to [-1, 1]
    contents |= {'offset': symmetric, 'do_normalize': not symmetric}
    contents['rescale_factor'] = 1 / 127.5 if symmetric else 1 / 255
  return contents

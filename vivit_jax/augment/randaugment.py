"""RandAugment (Cubuk et al., arXiv 1909.13719): operations and random draws.

A clip gets a few operations, drawn uniformly from a list. With TensorFlow's
list and strengths (tensorflow/models, official/vision/ops/augment.py), there
are 16 operations and Identity, all of the same magnitude. The scale ends at 10;
larger magnitudes, such as the paper's 15 and 20 (table 7), extrapolate. So
Solarize changes nothing at magnitude 10 or more, nor Posterize at 20 or more.
With timm's (timm.data.auto_augment, `inc1`; also in SlowFast), there are 15
operations, each with its own normal magnitude and applied with probability 1/2.
All strengths increase with the magnitude. Invert, AutoContrast and Equalize
have no strength.

The host draws the operations and applies the geometric ones
(`randaugment_geometry`). The batch carries the draws to the accelerator, which
applies the colour operations (`randaugment_colour`). Departure from both:
geometry always comes before colour; within each, the drawn order is kept. The
reference's input pipeline has no geometry (operations 'colour').
"""

import numpy as np

from vivit_jax.config import AugmentConfig

# A batch names an operation by its index in OPERATIONS.
COLOUR = (
  'Identity',
  'AutoContrast',
  'Equalize',
  'Invert',
  'Posterize',
  'Solarize',
  'SolarizeAdd',
  'Color',
  'Contrast',
  'Brightness',
  'Sharpness',
  'Cutout',
)
GEOMETRY = ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY')
OPERATIONS = COLOUR + GEOMETRY
GREY = 128  # fills pixels from outside the frame

_MAX_MAGNITUDE = 10.0  # end of TensorFlow's scale
_CROP = 224  # TensorFlow's lengths are pixels of this crop; ours are relative
_NOT_TIMM = ('Identity', 'Cutout')
_TIMM_PROBABILITY = 0.5  # of each layer


def strength(operation: str, magnitude: float) -> float:
  """Returns TensorFlow's strength, without its sign; 0 if there is none.

  The unit depends on the operation: bits kept (Posterize), lowest inverted
  level (Solarize), levels added (SolarizeAdd), factor (Color, Contrast,
  Brightness, Sharpness), degrees (Rotate), slope (Shear), shift relative to
  the crop's side (Translate), half the square's side relative to the crop's
  shorter side (Cutout).
  """
  level = magnitude / _MAX_MAGNITUDE
  match operation:
    case 'Posterize':
      return float(min(8, int(level * 4)))
    case 'Solarize':
      return float(min(256, int(level * 256)))
    case 'SolarizeAdd':
      return float(int(level * 110))
    case 'Color' | 'Contrast' | 'Brightness' | 'Sharpness':
      return level * 1.8 + 0.1
    case 'Cutout':
      return level * 40 / _CROP
    case 'Rotate':
      return level * 30
    case 'ShearX' | 'ShearY':
      return level * 0.3
    case 'TranslateX' | 'TranslateY':
      return level * 100 / _CROP
  return 0.0


def timm_strength(operation: str, magnitude: float, sign: float) -> float:
  """Returns timm's increasing strength, in the units of `strength`.

  Args:
    operation: its name in OPERATIONS.
    magnitude: from 0 to 10.
    sign: 1 or -1, for geometric operations and the four factors.
  """
  level = magnitude / _MAX_MAGNITUDE
  match operation:
    case 'Posterize':
      return 4 - strength(operation, magnitude)
    case 'Solarize':
      return 256 - strength(operation, magnitude)
    case 'Color' | 'Contrast' | 'Brightness' | 'Sharpness':
      return 1 + sign * level * 0.9
    case 'TranslateX' | 'TranslateY':
      return sign * level * 0.45
  return strength(operation, magnitude) * (sign if operation in GEOMETRY else 1)


def draw(config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
  """Draws the operations of one clip.

  Args:
    config: the keys `randaugment_*`; there are `randaugment_layers` operations.
    rng: the clip's generator.

  Returns:
    float32 [layers, 4]. A row has the operation's index in OPERATIONS, its
    strength (with its sign), and Cutout's centre: y and x in [0, 1), relative
    to height and width. A layer that is not applied is Identity.
  """
  timm = config.randaugment_scale == 'timm'
  known = OPERATIONS if config.randaugment_operations == 'all' else COLOUR
  if timm:
    known = [name for name in known if name not in _NOT_TIMM]
  rows = []
  for index in rng.integers(len(known), size=config.randaugment_layers):
    name, magnitude = known[index], config.randaugment_magnitude
    sign = rng.choice([-1.0, 1.0])
    if timm:
      if rng.random() >= _TIMM_PROBABILITY:
        name = 'Identity'
      drawn = rng.normal(magnitude, config.randaugment_deviation)
      argument = timm_strength(name, np.clip(drawn, 0, _MAX_MAGNITUDE), sign)
    else:
      argument = strength(name, magnitude) * (sign if name in GEOMETRY else 1.0)
    number = OPERATIONS.index(name)
    rows.append([number, argument, *rng.random(2, np.float32)])
  return np.array(rows, np.float32).reshape(config.randaugment_layers, 4)


def describe(layers: np.ndarray) -> str:
  """Returns a clip's operations in words, such as 'Rotate -45, Color 2.8'.

  Args:
    layers: float [layers, 4] from `draw`; Identity is omitted.
  """
  words = []
  for number, argument, *_ in layers:
    name = OPERATIONS[int(number)]
    words.append(f'{name} {argument:.3g}' if argument else name)
  return ', '.join(word for word in words if word != 'Identity')

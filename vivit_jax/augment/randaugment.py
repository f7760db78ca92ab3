"""RandAugment (Cubuk et al., arXiv 1909.13719): operations and random draws.

A clip gets a few operations, drawn uniformly from a list, all of the same
magnitude. The list and the strengths are TensorFlow's (tensorflow/models,
official/vision/ops/augment.py): 16 operations and Identity. TensorFlow's scale
ends at magnitude 10; larger magnitudes, such as the paper's 15 and 20
(table 7), extrapolate. So Solarize changes nothing at magnitude 10 or more, nor
Posterize at 20 or more. Invert, AutoContrast and Equalize have no strength.

The host draws the operations and applies the geometric ones
(`randaugment_geometry`). The batch carries the draws to the accelerator, which
applies the colour operations (`randaugment_colour`). Departure from TensorFlow:
geometry always comes before colour; within each, the drawn order is kept. The
reference's input pipeline has no geometry (operations 'colour').
"""

import numpy as np

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


def strength(operation: str, magnitude: float) -> float:
  """Returns the strength of an operation, without its sign; 0 if it has none.

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


def draw(
  layers: int, magnitude: float, operations: str, rng: np.random.Generator
) -> np.ndarray:
  """Draws the operations of one clip.

  Args:
    layers: number of operations.
    magnitude: strength of each operation, on TensorFlow's scale.
    operations: 'all', or 'colour' for COLOUR only.
    rng: the clip's generator.

  Returns:
    float32 [layers, 4]. A row has the operation's index in OPERATIONS, its
    strength (with a random sign if it is geometric), and Cutout's centre: y
    and x in [0, 1), relative to height and width.
  """
  known = OPERATIONS if operations == 'all' else COLOUR
  rows = []
  for number in rng.integers(len(known), size=layers):
    name = known[number]
    sign = rng.choice([-1.0, 1.0])
    argument = strength(name, magnitude) * (sign if name in GEOMETRY else 1.0)
    rows.append([number, argument, *rng.random(2, np.float32)])
  return np.array(rows, np.float32).reshape(layers, 4)


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

"""RandAugment's operations, and the one draw of them for a clip.

RandAugment (Cubuk et al., arXiv 1909.13719) changes a picture by some
operations, drawn evenly from a list, all of one magnitude. List and strengths
are those of TensorFlow (tensorflow/models, official/vision/ops/augment.py): 16
operations and, as often as each, none; a magnitude of 10 is the scale's end,
and what lies above, as the paper's 15 and 20 (table 7), goes on along the same
line. So from 10 on, Solarize changes nothing, and from 20 on, Posterize does
not; Invert, AutoContrast and Equalize have no strength.

The host draws, and warps clips by the geometric operations
(`randaugment_geometry`); the draw goes with the batch, and the accelerator
recolours them (`randaugment_colour`). So geometry comes first: order is kept
among geometric and among colour operations, not between them, a departure. The
reference's input pipeline leaves geometry out ('colour').
"""

import numpy as np

# An operation's place in OPERATIONS is its number in a batch.
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
GREY = 128  # where there is no picture

_END = 10.0  # of the scale of magnitudes
# TensorFlow's lengths are pixels of crops of 224; here they grow with the crop.
_SIDE = 224


def strength(operation: str, magnitude: float) -> float:
  """Returns an operation's argument, without its sign.

  Bits that are kept (Posterize), the least level that is inverted (Solarize),
  levels added (SolarizeAdd), factors (Color, Contrast, Brightness, Sharpness),
  degrees (Rotate), slopes (Shear), and parts of the crop's side that it moves
  by (Translate), or half a box's side (Cutout).
  """
  level = magnitude / _END
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
      return level * 40 / _SIDE
    case 'Rotate':
      return level * 30
    case 'ShearX' | 'ShearY':
      return level * 0.3
    case 'TranslateX' | 'TranslateY':
      return level * 100 / _SIDE
  return 0.0


def draw(
  layers: int, magnitude: float, operations: str, rng: np.random.Generator
) -> np.ndarray:
  """Draws the operations of one clip, in their order, float32 [layers, 4].

  Args:
    layers: how many.
    magnitude: of all.
    operations: 'all', or 'colour' without the geometric ones.
    rng: draws.

  Returns:
    Of each layer: the operation's place in OPERATIONS; its strength, of a
    geometric one with a random sign; and a point of the picture, as parts of
    its height and width in [0, 1), for Cutout.
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
  """Returns the operations of a clip, [layers, 4], as 'Rotate -45, Color 2.8'.

  Identity is left out.
  """
  words = []
  for number, argument, *_ in layers:
    name = OPERATIONS[int(number)]
    words.append(f'{name} {argument:.3g}' if argument else name)
  return ', '.join(word for word in words if word != 'Identity')

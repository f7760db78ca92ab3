"""Operations and strengths against TensorFlow's levels, worked out by hand."""

import collections

import numpy as np
import pytest

from vivit_jax.augment import randaugment
from vivit_jax.config import AugmentConfig


@pytest.mark.parametrize(
  'operation, at_10, at_15, at_20',
  [
    ('Equalize', 0, 0, 0),
    ('Posterize', 4, 6, 8),
    ('Solarize', 256, 256, 256),
    ('SolarizeAdd', 110, 165, 220),
    ('Color', 1.9, 2.8, 3.7),
    ('Sharpness', 1.9, 2.8, 3.7),
    ('Rotate', 30, 45, 60),
    ('ShearY', 0.3, 0.45, 0.6),
    ('TranslateX', 100 / 224, 150 / 224, 200 / 224),
    ('Cutout', 40 / 224, 60 / 224, 80 / 224),
  ],
)
def test_strengths(operation, at_10, at_15, at_20):
  found = [randaugment.strength(operation, m) for m in (10.0, 15.0, 20.0)]
  assert found == pytest.approx([at_10, at_15, at_20])


def draw(layers: int, **changes) -> np.ndarray:
  config = AugmentConfig(
    randaugment_layers=layers,
    **{f'randaugment_{key}': value for key, value in changes.items()},
  )
  return randaugment.draw(config, np.random.default_rng(0))


def test_each_operation_and_sign_is_drawn_as_often():
  draws = draw(17_000)
  counts = collections.Counter(draws[:, 0].astype(int).tolist())
  assert sorted(counts) == list(range(17))
  assert min(counts.values()) > 850 and max(counts.values()) < 1150
  for number, name in enumerate(randaugment.OPERATIONS):
    arguments = draws[draws[:, 0] == number, 1]
    negative = (arguments < 0).mean()
    if name in randaugment.GEOMETRY:
      assert 0.4 < negative < 0.6
    else:
      assert negative == 0
  assert draws[:, 2:].min() >= 0 and draws[:, 2:].max() < 1


def test_colour_alone_draws_no_geometry():
  draws = draw(2000, operations='colour')
  names = {randaugment.OPERATIONS[int(number)] for number in draws[:, 0]}
  assert names == set(randaugment.COLOUR)


def test_no_layers_draw_nothing():
  rng, other = np.random.default_rng(0), np.random.default_rng(0)
  assert randaugment.draw(AugmentConfig(), rng).shape == (0, 4)
  assert rng.random() == other.random()


@pytest.mark.parametrize(
  'operation, at_0, at_7, at_10',
  [
    ('Equalize', 0, 0, 0),
    ('Rotate', 0, -21, -30),
    ('Posterize', 4, 2, 0),  # 4 - 2.8, rounded
    ('Solarize', 256, 77, 0),  # 256 - 179.2
    ('SolarizeAdd', 0, 77, 110),
    ('Color', 1, 0.37, 0.1),
    ('Contrast', 1, 0.37, 0.1),
    ('Brightness', 1, 0.37, 0.1),
    ('Sharpness', 1, 0.37, 0.1),
    ('ShearX', 0, -0.21, -0.3),
    ('TranslateY', 0, -0.315, -0.45),
  ],
)
def test_timms_increasing_strengths(operation, at_0, at_7, at_10):
  found = [randaugment.timm_strength(operation, m, -1) for m in (0, 7, 10)]
  assert found == pytest.approx([at_0, at_7, at_10])


TIMM = 'AutoContrast Equalize Invert Rotate Posterize Solarize SolarizeAdd '
TIMM += (
  'Color Contrast Brightness Sharpness ShearX ShearY TranslateX TranslateY'
)
UNITS = {'Rotate': 3, 'ShearX': 0.03, 'ShearY': 0.03}
UNITS |= {'TranslateX': 0.045, 'TranslateY': 0.045}
UNITS |= dict.fromkeys(('Color', 'Contrast', 'Brightness', 'Sharpness'), 0.09)


def test_timms_layers_are_applied_half_of_the_time_with_normal_magnitudes():
  draws = draw(30_000, scale='timm', magnitude=7.0, deviation=0.5)
  names = np.array(randaugment.OPERATIONS)[draws[:, 0].astype(int)]
  counts = collections.Counter(names.tolist())
  applied = len(draws) - counts.pop('Identity')
  assert abs(applied - 15_000) < 5 * 87  # of deviation 86.6
  assert set(counts) == set(TIMM.split())
  assert all(abs(count - 1000) < 5 * 32 for count in counts.values())
  magnitudes = []
  for name, unit in UNITS.items():
    moved = draws[names == name, 1] - (unit == 0.09)
    assert 0.4 < (moved < 0).mean() < 0.6
    magnitudes.extend(np.abs(moved) / unit)
  assert np.mean(magnitudes) == pytest.approx(7, abs=0.03)
  assert np.std(magnitudes) == pytest.approx(0.5, abs=0.02)


def test_timms_magnitudes_end_at_10():
  draws = draw(3000, scale='timm', magnitude=10.0, deviation=2.0)
  rotate = draws[draws[:, 0] == randaugment.OPERATIONS.index('Rotate'), 1]
  assert 0.3 < (np.abs(rotate) == 30).mean() < 0.7
  assert np.abs(rotate).max() == 30


def test_timms_colour_operations_alone():
  draws = draw(2000, scale='timm', operations='colour')
  names = {randaugment.OPERATIONS[int(number)] for number in draws[:, 0]}
  geometry = {'Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'}
  assert names == {'Identity', *TIMM.split()} - geometry


def test_a_clips_operations_in_words():
  rows = [(randaugment.OPERATIONS.index('Rotate'), -45, 0, 0), (0, 0, 0, 0)]
  rows.append((randaugment.OPERATIONS.index('Invert'), 0, 0, 0))
  assert randaugment.describe(np.array(rows)) == 'Rotate -45, Invert'

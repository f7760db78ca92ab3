"""Operations and strengths against TensorFlow's levels, worked out by hand."""

import collections

import numpy as np
import pytest

from vivit_jax.augment import randaugment


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


def test_each_operation_and_sign_is_drawn_as_often():
  draws = randaugment.draw(17_000, 10.0, 'all', np.random.default_rng(0))
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
  draws = randaugment.draw(2000, 10.0, 'colour', np.random.default_rng(0))
  names = {randaugment.OPERATIONS[int(number)] for number in draws[:, 0]}
  assert names == set(randaugment.COLOUR)


def test_no_layers_draw_nothing():
  rng, other = np.random.default_rng(0), np.random.default_rng(0)
  assert randaugment.draw(0, 10.0, 'all', rng).shape == (0, 4)
  assert rng.random() == other.random()


def test_a_clips_operations_in_words():
  rows = [(randaugment.OPERATIONS.index('Rotate'), -45, 0, 0), (0, 0, 0, 0)]
  rows.append((randaugment.OPERATIONS.index('Invert'), 0, 0, 0))
  assert randaugment.describe(np.array(rows)) == 'Rotate -45, Invert'

"""Colour operations against Pillow, and against values worked out by hand."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vivit_jax.augment import randaugment
from vivit_jax.augment.randaugment_colour import recolour


def row(name: str, argument: float = 0.0, y: float = 0.5, x: float = 0.5):
  number = randaugment.OPERATIONS.index(name)
  return np.array([number, argument, y, x], np.float32)


def apply(clip: np.ndarray, *rows) -> np.ndarray:
  """Returns a clip [T, H, W, 3] after the operations, as int."""
  video = np.asarray(clip, np.float32)[None]
  out = np.asarray(jax.jit(recolour)(video, np.stack(rows)[None]))[0]
  np.testing.assert_array_equal(out, np.round(out))
  assert out.min() >= 0 and out.max() <= 255
  return out.astype(int)


def picture(seed: int = 0) -> np.ndarray:
  """Returns a picture of uneven levels, uint8 [40, 60, 3]."""
  draw = np.random.default_rng(seed)
  rows, columns = np.mgrid[:40, :60]
  wave = (
    90
    + 50 * np.sin(rows / 5)[..., None]
    + 30 * np.cos(columns[..., None] / draw.uniform(3, 9, 3))
  )
  return np.clip(wave + draw.normal(0, 8, (40, 60, 3)), 0, 255).astype(np.uint8)


PILLOW = {
  'AutoContrast': lambda image, _: ImageOps.autocontrast(image),
  'Equalize': lambda image, _: ImageOps.equalize(image),
  'Invert': lambda image, _: ImageOps.invert(image),
  'Posterize': lambda image, bits: ImageOps.posterize(image, int(bits)),
  'Solarize': lambda image, least: ImageOps.solarize(image, int(least)),
  'Color': lambda image, factor: ImageEnhance.Color(image).enhance(factor),
  'Contrast': lambda image, factor: ImageEnhance.Contrast(image).enhance(
    factor
  ),
  'Brightness': lambda image, factor: ImageEnhance.Brightness(image).enhance(
    factor
  ),
  'Sharpness': lambda image, factor: ImageEnhance.Sharpness(image).enhance(
    factor
  ),
}
EXACT = ('Equalize', 'Invert', 'Posterize', 'Solarize')


@pytest.mark.parametrize('magnitude', [3.0, 10.0, 15.0])
@pytest.mark.parametrize('name', PILLOW)
def test_as_in_pillow(name, magnitude):
  argument = randaugment.strength(name, magnitude)
  image = picture()
  expected = np.asarray(PILLOW[name](Image.fromarray(image), argument), int)
  found = apply(image[None], row(name, argument))[0]
  # The smooth picture and greys may be rounded otherwise, by one level, and
  # the factor makes more of it.
  most = 0 if name in EXACT else np.ceil(max(1.0, argument))
  assert np.abs(found - expected).max() <= most
  if argument < 8 and name != 'Solarize':
    assert (found != image).any()


def test_levels_by_hand():
  levels = np.array([0, 17, 100, 127, 128, 200, 255])
  clip = np.broadcast_to(levels[None, None, :, None], (1, 1, 7, 3))
  for name, argument, expected in (
    ('Identity', 0, levels),
    ('Invert', 0, 255 - levels),
    ('Posterize', 4, [0, 16, 96, 112, 128, 192, 240]),
    ('Solarize', 128, [0, 17, 100, 127, 127, 55, 0]),
    ('Solarize', 256, levels),
    ('SolarizeAdd', 110, [110, 127, 210, 237, 128, 200, 255]),
    ('Brightness', 1.9, [0, 32, 190, 241, 243, 255, 255]),
    ('Rotate', 30, levels),  # the host has made it
  ):
    found = apply(clip, row(name, argument))
    assert found[0, 0, :, 1].tolist() == list(expected), name


def test_contrast_and_colour_by_hand():
  two = np.array([[[[40] * 3, [60] * 3]]])
  assert apply(two, row('Contrast', 2.0))[0, 0, :, 0].tolist() == [30, 70]
  red = np.array([[[[200, 0, 0]]]])  # of luma 59.8, rounded 60
  assert apply(red, row('Color', 0.5))[0, 0, 0].tolist() == [130, 30, 30]


def test_a_level_of_its_own_stays():
  flat = np.full((2, 4, 4, 3), 77)
  for name in ('AutoContrast', 'Equalize', 'Sharpness'):
    np.testing.assert_array_equal(apply(flat, row(name, 1.9)), flat)


def test_cutout_is_a_grey_square_cut_off_at_the_edges():
  clip = np.zeros((2, 8, 8, 3))
  expected = np.zeros((2, 8, 8, 3))
  expected[:, 2:6, 6:] = 128  # 2 pixels round row 4, column 8 of 8
  found = apply(clip, row('Cutout', 0.25, 0.5, 0.99))
  expected[:, 2:6, 5:] = 128  # column 7: 5 to 8
  np.testing.assert_array_equal(found, expected)


def test_statistics_are_of_the_whole_clip():
  """A dark and a bright frame are stretched alike, not each to the full."""
  clip = np.stack([np.full((4, 4, 3), 50), np.full((4, 4, 3), 100)])
  clip[0, 0, 0] = 0
  found = apply(clip, row('AutoContrast'))
  assert found[0, 1, 1].tolist() == [127] * 3
  assert found[1, 1, 1].tolist() == [255] * 3
  found = apply(clip, row('Contrast', 0.0))
  assert len(np.unique(found)) == 1


@pytest.mark.parametrize('name', randaugment.COLOUR)
def test_the_same_frames_stay_the_same(name):
  clip = np.stack([picture(1)] * 3)
  found = apply(clip, row(name, randaugment.strength(name, 5.0)))
  np.testing.assert_array_equal(found[0], found[1])
  np.testing.assert_array_equal(found[0], found[2])


def test_layers_are_made_in_their_order_and_each_clip_has_its_own():
  clip = np.array([[[[10] * 3, [200] * 3]]], np.float32)
  invert, solarise = row('Invert'), row('Solarize', 128)
  layers = np.stack([[invert, solarise], [solarise, invert]])
  out = np.asarray(recolour(np.stack([clip, clip]), layers))
  assert out[0, 0, 0, :, 0].tolist() == [10, 55]  # 245, 55: inverted again
  assert out[1, 0, 0, :, 0].tolist() == [245, 200]

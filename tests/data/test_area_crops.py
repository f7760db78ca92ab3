"""Crops of a drawn area and aspect: their distribution, limits and pixels."""

import dataclasses

import numpy as np
import pytest

from vivit_jax.augment import randaugment
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import datasets, pipeline, sampling
from vivit_jax.data.sampling import Box

COUNT = 4000


def boxes(size, area, count=COUNT) -> list[Box]:
  rng = np.random.default_rng(0)
  data = DataConfig(crop_area=area)
  return [sampling.random_box(size, data, rng) for _ in range(count)]


def assert_uniform(values, low, high):
  """The share below each of some points, within 5 deviations."""
  assert low < min(values) and max(values) < high
  for share in (0.1, 0.25, 0.5, 0.75, 0.9):
    below = np.mean(np.array(values) < low + share * (high - low))
    assert abs(below - share) < 5 * (share * (1 - share) / len(values)) ** 0.5


def test_area_and_log_aspect_are_uniform():
  """Boxes of up to 0.3 of a large square fit at once: none is drawn again."""
  side = 10_000
  drawn = boxes((side, side), (0.08, 0.3))
  areas = [box.height * box.width / side**2 for box in drawn]
  aspects = [np.log(box.width / box.height) for box in drawn]
  assert_uniform(areas, 0.08 - 1e-4, 0.3 + 1e-4)
  assert_uniform(aspects, np.log(3 / 4) - 1e-3, np.log(4 / 3) + 1e-3)
  tops = [(box.top + 0.5) / (side - box.height + 1) for box in drawn]
  lefts = [(box.left + 0.5) / (side - box.width + 1) for box in drawn]
  assert_uniform(tops, 0, 1)
  assert_uniform(lefts, 0, 1)


def test_boxes_are_inside_and_reach_every_edge():
  height, width = 24, 34
  drawn = boxes((height, width), (0.08, 1.0))
  for box in drawn:
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width
    # Sides are whole pixels, half a pixel off at most.
    low, high = (
      (box.width - 0.5) / (box.height + 0.5),
      (box.width + 0.5) / (box.height - 0.5),
    )
    assert low <= 4 / 3 and high >= 3 / 4
    assert (box.height + 0.5) * (box.width + 0.5) >= 0.08 * height * width
  assert min(b.top for b in drawn) == min(b.left for b in drawn) == 0
  assert max(b.top + b.height for b in drawn) == height
  assert max(b.left + b.width for b in drawn) == width


@pytest.mark.parametrize(
  'size, box',
  [
    ((100, 1000), Box(0, 433, 100, 133)),  # 100 x 4 / 3
    ((1000, 100), Box(433, 0, 133, 100)),  # 100 / (3 / 4)
    ((1, 9), Box(0, 4, 1, 1)),
  ],
)
def test_where_nothing_fits_the_centre_is_taken(size, box):
  assert boxes(size, (0.9, 1.0), count=20) == [box] * 20


class Gradient:
  """A split of frames whose red grows downwards and green to the right."""

  labels, multi_label = {}, frozenset()

  def __init__(self, split, size):
    self._split = split
    rows, columns = np.mgrid[: size[0], : size[1]]
    self.frame = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)

  def __len__(self):
    return len(self._split)

  def __getattr__(self, name):
    return getattr(self._split, name)

  def decode_frames(self, video, frames):
    return [(number, self.frame) for number in np.unique(frames)]


@pytest.fixture(scope='module')
def gradient(prepared):
  split = datasets.open_split('moving_shapes', prepared, 'train')
  return Gradient(split, (150, 220))


def clips(split, crop_area, augment, crop=(40, 40)) -> tuple:
  data = DataConfig(frames=2, crop=crop, short_side=40, workers=0)
  data = dataclasses.replace(data, crop_area=crop_area)
  batches = pipeline.train_batches(split, data, augment, seed=0, batch_size=48)
  batch = next(batches)
  batches.close()
  return batch['video'], batch.get('randaugment')


def resized(box: Box, crop: int) -> np.ndarray:
  """Returns red and green of the gradient's box, resized, by hand."""
  red, green = (
    # In an enlarged box, the outermost pixel centres are repeated.
    (start + (np.arange(crop) + 0.5) * side / crop - 0.5).clip(
      start, start + side - 1
    )
    for start, side in ((box.top, box.height), (box.left, box.width))
  )
  return np.stack(np.meshgrid(red, green, indexing='ij'), -1)


@pytest.mark.parametrize('height, width', [(10, 10), (44, 10), (10, 44)])
def test_a_box_that_shrinks_in_one_axis_only_is_interpolated(
  gradient, height, width
):
  """Averaged, the enlarged axis would have steps, like nearest neighbours."""
  box = Box(3, 5, height, width)
  found = sampling.crop_and_resize(4 * gradient.frame, box, (40, 40))
  assert np.abs(found[..., :2] - 4 * resized(box, 40)).max() < 1


def test_a_wide_box_is_averaged_before_it_is_warped():
  """Of stripes of one pixel, interpolation alone would show 0 and 200."""
  stripes = np.zeros((60, 100, 3), np.uint8)
  stripes[:, ::2] = 200
  out = np.empty((40, 40, 3), np.uint8)
  number = randaugment.OPERATIONS.index('TranslateY')
  still = np.array([[number, 0.0, 0.5, 0.5]], np.float32)
  sampling.cutter(Box(0, 0, 60, 100), (40, 40), still)(stripes, out)
  # 2.5 columns, of which 1 to 1.5 are bright.
  assert 79 <= out.min() and out.max() <= 121


def test_pixels_are_those_of_one_box_resized(gradient):
  """Of a gradient, the resized crop is a gradient: slopes tell the box."""
  video, _ = clips(gradient, (0.08, 1.0), AugmentConfig())
  sizes = set()
  for clip in video.astype(float):
    np.testing.assert_array_equal(clip[0], clip[1])
    lines = clip[0, :, 0, 0], clip[0, 0, :, 1]
    (down, first), (right, second) = (
      np.polyfit(np.arange(40), line, 1) for line in lines
    )
    height, width = round(40 * down), round(40 * right)
    top, left = first + 0.5 - height / 80, second + 0.5 - width / 80
    box = Box(round(top), round(left), height, width)
    assert 0 <= box.top <= 150 - height and 0 <= box.left <= 220 - width
    assert 0.74 < width / height < 1.35
    assert 0.079 < height * width / (150 * 220) <= 1
    assert np.abs(clip[0, ..., :2] - resized(box, 40)).max() <= 1
    sizes.add((height, width))
  assert len(sizes) > 40

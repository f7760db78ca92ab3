"""Boxes and crops: hand-computed values, distributions and pixels."""

import dataclasses

import cv2
import numpy as np
import pytest

from vivit_jax.augment import randaugment, randaugment_geometry
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import datasets, pipeline, sampling
from vivit_jax.data.sampling import Box

SQUARE = (224, 224)


@pytest.mark.parametrize(
  'size, crop, short, count, corners, sides',
  [
    ((256, 340), SQUARE, 256, 1, [(16, 58)], SQUARE),
    ((256, 340), SQUARE, 256, 3, [(16, 0), (16, 58), (16, 116)], SQUARE),
    # Upright: along the height.
    ((340, 256), SQUARE, 256, 3, [(0, 16), (58, 16), (116, 16)], SQUARE),
    # Half the resolution: the box is half as large.
    ((128, 170), SQUARE, 256, 1, [(8, 29)], (112, 112)),
    ((48, 48), (40, 40), 40, 1, [(0, 0)], (48, 48)),
    # A wide crop of a wide video, and of a square one: its aspect is kept.
    ((48, 64), (40, 60), 48, 1, [(4, 2)], (40, 60)),
    ((48, 48), (40, 60), 48, 1, [(8, 0)], (32, 48)),
  ],
)
def test_uniform_boxes(size, crop, short, count, corners, sides):
  boxes = sampling.uniform_boxes(size, crop, short, count)
  assert boxes == [Box(*corner, *sides) for corner in corners]


def test_random_boxes_reach_every_edge_and_both_scales():
  rng = np.random.default_rng(0)
  size = (240, 320)
  data = DataConfig(scale_jitter=(0.9, 1.33))  # 224 of a short side of 256
  boxes = [sampling.random_box(size, data, rng) for _ in range(4000)]
  assert min(b.top for b in boxes) == min(b.left for b in boxes) == 0
  assert max(b.top + b.height for b in boxes) == size[0]
  assert max(b.left + b.width for b in boxes) == size[1]
  # 224 of a short side of 256 * 0.9 or 256 * 1.33, in pixels of 240.
  assert max(b.height for b in boxes) == round(224 * 240 / (256 * 0.9))
  assert min(b.height for b in boxes) == round(224 * 240 / (256 * 1.33))


@pytest.mark.parametrize('uniform', ['factor', 'inverse'])
def test_short_sides_of_training(uniform):
  """Of 256 to 320: half are below 288, or 1 / side above its mean."""
  rng = np.random.default_rng(0)
  scales = (256 / 224, 320 / 224)
  data = DataConfig(
    crop=(64, 64),
    short_side=224,
    scale_jitter=scales,
    scale_jitter_uniform=uniform,
  )
  boxes = [sampling.random_box((6400, 6400), data, rng) for _ in range(2000)]
  sides = np.sort([64 * 6400 / box.height for box in boxes])
  assert 256 <= sides[0] < 257 and 319 < sides[-1] <= 320.3
  median = 288 if uniform == 'factor' else 2 / (1 / 256 + 1 / 320)  # 284.4
  below = (sides < median).mean()
  assert abs(below - 0.5) < 5 * 0.5 / 2000**0.5
  assert abs(np.median(sides) - median) < 1.8


def test_a_crop_without_resize_is_the_frame_itself():
  frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
  crop = sampling.crop_and_resize(frame, Box(1, 2, 4, 5), (4, 5))
  np.testing.assert_array_equal(crop, frame[1:5, 2:7])


def test_a_shrunk_crop_is_averaged():
  frame = np.zeros((4, 4, 3), np.uint8)
  frame[0, 0], frame[0, 1], frame[2:, 2:] = 100, 60, 200
  crop = sampling.crop_and_resize(frame, Box(0, 0, 4, 4), (2, 2))
  assert crop[..., 0].tolist() == [[40, 0], [0, 200]]


@pytest.mark.parametrize('box', [Box(1, 2, 4, 5), Box(0, 0, 3, 3)])
def test_a_crop_is_written_to_out(box):
  frame = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8)
  clip = np.zeros((3, 4, 5, 3), np.uint8)
  sampling.crop_and_resize(frame, box, (4, 5), out=clip[1])
  expected = sampling.crop_and_resize(frame, box, (4, 5))
  np.testing.assert_array_equal(clip[1], expected)
  assert not clip[[0, 2]].any()


def cut(frame, box, crop, drawn):
  """Returns what a cutter cuts from a frame, uint8 [*crop, 3]."""
  out = np.empty((*crop, 3), np.uint8)
  sampling.cutter(box, crop, drawn)(frame, out)
  return out


def layers(*rows: tuple[str, float]) -> np.ndarray:
  return np.array(
    [(randaugment.OPERATIONS.index(name), x, 0.5, 0.5) for name, x in rows],
    np.float32,
  )


def test_colour_operations_are_the_plain_crop():
  box = Box(2, 1, 30, 25)
  source = np.arange(40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
  np.testing.assert_array_equal(
    cut(source, box, (12, 10), layers(('Invert', 0))),
    sampling.crop_and_resize(source, box, (12, 10)),
  )


@pytest.mark.parametrize('side', [20, 36, 100])
def test_the_combined_warp_is_a_resize_and_a_warp(side):
  rows, columns = np.mgrid[:120, :120]
  smooth = np.stack([rows, columns, (rows + columns) // 2], -1).astype(np.uint8)
  box, crop = Box(7, 11, side, side), (40, 40)
  operations = layers(('Rotate', 20.0), ('ShearY', 0.2), ('TranslateX', -0.1))
  part = smooth[7 : 7 + side, 11 : 11 + side]
  resized = cv2.resize(part, crop, interpolation=cv2.INTER_LINEAR)
  expected = cv2.warpAffine(
    resized,
    randaugment_geometry.matrix(operations, crop)[:2],
    crop,
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderValue=(128,) * 3,
  )
  warped = cut(smooth, box, crop, operations)
  grey = (warped == 128).all(-1) | (expected == 128).all(-1)
  away = cv2.erode((~grey).astype(np.uint8), np.ones((5, 5))).astype(bool)
  assert away.sum() > 600
  difference = np.abs(warped.astype(int) - expected.astype(int))[away]
  assert difference.max() <= 2


COUNT = 4000


def area_boxes(size, area, count=COUNT) -> list[Box]:
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
  drawn = area_boxes((side, side), (0.08, 0.3))
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
  drawn = area_boxes((height, width), (0.08, 1.0))
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
  assert area_boxes(size, (0.9, 1.0), count=20) == [box] * 20


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

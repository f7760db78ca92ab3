"""Boxes and crops against hand-computed values, and properties."""

import cv2
import numpy as np
import pytest

from vivit_jax.augment import randaugment, randaugment_geometry
from vivit_jax.config import DataConfig
from vivit_jax.data import sampling
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

"""Warps against pixels moved by hand."""

import cv2
import numpy as np
import pytest

from vivit_jax import randaugment
from vivit_jax.data import sampling, warp
from vivit_jax.data.sampling import Box


def cut(frames, box, crop, drawn):
  """Returns what a cutter makes of frames, uint8 [T, *crop, 3]."""
  cutter = warp.cutter(box, crop, drawn)
  clip = np.empty((len(frames), *crop, 3), np.uint8)
  for frame, out in zip(frames, clip):
    cutter(frame, out)
  return clip


def layers(*rows: tuple[str, float]) -> np.ndarray:
  return np.array(
    [(randaugment.OPERATIONS.index(name), x, 0.5, 0.5) for name, x in rows],
    np.float32,
  )


def frame(height: int = 8, width: int = 8) -> np.ndarray:
  """Returns a frame whose pixels all differ."""
  count = height * width * 3
  return np.arange(count).reshape(height, width, 3).astype(np.uint8)


WHOLE = Box(0, 0, 8, 8)


def warped(*rows) -> np.ndarray:
  clip = cut([frame()] * 2, WHOLE, (8, 8), layers(*rows))
  np.testing.assert_array_equal(clip[0], clip[1])
  return clip[0]


def test_translations_bring_in_grey():
  expected = np.full((8, 8, 3), 128, np.uint8)
  expected[:, :6] = frame()[:, 2:]
  np.testing.assert_array_equal(warped(('TranslateX', 0.25)), expected)
  expected = np.full((8, 8, 3), 128, np.uint8)
  expected[4:] = frame()[:4]
  np.testing.assert_array_equal(warped(('TranslateY', -0.5)), expected)


def test_a_quarter_turn_and_back():
  turned = warped(('Rotate', 90.0))
  # (x, y) takes what is at (-y, x), about the centre: anticlockwise.
  np.testing.assert_array_equal(turned, np.rot90(frame(), 1))
  np.testing.assert_array_equal(warped(*[('Rotate', 45.0)] * 2), turned)
  np.testing.assert_array_equal(
    warped(('Rotate', 30.0), ('Rotate', -30.0)), frame()
  )


def test_a_shear_moves_each_row_by_its_number():
  sheared = warped(('ShearX', 1.0))
  for row in range(8):
    np.testing.assert_array_equal(sheared[row, : 8 - row], frame()[row, row:])
    assert (sheared[row, 8 - row :] == 128).all()
  sheared = warped(('ShearY', 1.0))
  for column in range(8):
    np.testing.assert_array_equal(
      sheared[: 8 - column, column], frame()[column:, column]
    )


def test_layers_are_made_in_their_order():
  """Moved, then turned, is another picture than turned, then moved."""
  turn, move = ('Rotate', 90.0), ('TranslateX', 0.25)
  moved = np.full((8, 8, 3), 128, np.uint8)
  moved[:, :6] = frame()[:, 2:]
  np.testing.assert_array_equal(warped(move, turn), np.rot90(moved, 1))
  turned = np.full((8, 8, 3), 128, np.uint8)
  turned[:, :6] = np.rot90(frame(), 1)[:, 2:]
  np.testing.assert_array_equal(warped(turn, move), turned)


def test_colour_alone_is_the_plain_crop():
  box, source = Box(2, 1, 30, 25), frame(40, 40)
  np.testing.assert_array_equal(
    cut([source], box, (12, 10), layers(('Invert', 0))),
    [sampling.crop_and_resize(source, box, (12, 10))],
  )


@pytest.mark.parametrize('side', [20, 36, 100])
def test_one_warp_is_a_resize_and_then_a_warp(side):
  rows, columns = np.mgrid[:120, :120]
  smooth = np.stack([rows, columns, (rows + columns) // 2], -1).astype(np.uint8)
  box, crop = Box(7, 11, side, side), (40, 40)
  operations = layers(('Rotate', 20.0), ('ShearY', 0.2), ('TranslateX', -0.1))
  part = smooth[7 : 7 + side, 11 : 11 + side]
  resized = cv2.resize(part, crop, interpolation=cv2.INTER_LINEAR)
  expected = cv2.warpAffine(
    resized,
    warp.matrix(operations, crop)[:2],
    crop,
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderValue=(128,) * 3,
  )
  found = cut([smooth], box, crop, operations)[0]
  grey = (found == 128).all(-1) | (expected == 128).all(-1)
  away = cv2.erode((~grey).astype(np.uint8), np.ones((5, 5))).astype(bool)
  assert away.sum() > 600
  difference = np.abs(found.astype(int) - expected.astype(int))[away]
  assert difference.max() <= 2

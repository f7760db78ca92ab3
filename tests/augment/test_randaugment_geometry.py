"""Warps against pixels moved by hand."""

import numpy as np

from vivit_jax.augment import randaugment, randaugment_geometry


def layers(*rows: tuple[str, float]) -> np.ndarray:
  return np.array(
    [(randaugment.OPERATIONS.index(name), x, 0.5, 0.5) for name, x in rows],
    np.float32,
  )


def frame(height: int = 8, width: int = 8) -> np.ndarray:
  """Returns a frame whose pixels all differ."""
  count = height * width * 3
  return np.arange(count).reshape(height, width, 3).astype(np.uint8)


def warped(*rows) -> np.ndarray:
  warp = randaugment_geometry.warper(layers(*rows), (8, 8), (8, 8))
  clip = np.empty((2, 8, 8, 3), np.uint8)
  for out in clip:
    warp(frame(), out)
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


def test_colour_alone_needs_no_warp():
  colour = layers(('Invert', 0), ('Cutout', 0.3))
  assert randaugment_geometry.warper(colour, (8, 8), (8, 8)) is None
  assert randaugment_geometry.matrix(colour, (8, 8)) is None

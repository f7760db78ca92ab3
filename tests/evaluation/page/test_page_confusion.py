"""Pairs and pictures of confusions, against counts made by hand."""

import cv2
import numpy as np
import pytest

from vivit_jax.evaluation.page import confusion, document

COUNTS = np.array([[6, 2, 2], [1, 0, 1], [2, 0, 8]])


def test_the_worst_pairs_by_hand():
  """Of the three that count 2, rows have 10 examples; of those of 1, two."""
  found = confusion.worst_pairs(COUNTS)
  assert found.tolist() == [[0, 1], [0, 2], [2, 0], [1, 0], [1, 2]]
  rarer = COUNTS.copy()
  rarer[2, 2] = 3  # now 2 of 5 are wrong
  assert confusion.worst_pairs(rarer, 2).tolist() == [[2, 0], [0, 1]]
  assert not len(confusion.worst_pairs(np.diag([3, 0, 2])))


def test_few_classes_are_written_out():
  found = confusion.parts(COUNTS, ['a', 'b', '<c>'])
  assert found['map'] is None and found['pair_count'] == 5
  assert found['matrix'][1] == {'name': 'b', 'counts': [1, 0, 1], 'total': 2}
  assert found['pairs'][0] == ('a', 'b', 2, 10)


def test_many_classes_are_a_picture_whose_cells_can_be_named():
  counts = np.diag(np.full(30, 3))
  counts[4, 9] = 2
  found = confusion.parts(counts, [str(k) for k in range(30)])
  assert found['matrix'] is None
  cells = dict(zip(found['map']['cells'][::2], found['map']['cells'][1::2]))
  assert cells == {31 * k: 3 for k in range(30)} | {4 * 30 + 9: 2}


@pytest.mark.parametrize(
  ('number', 'total', 'words'),
  [
    (0, 7, '0'),
    (7, 7, '100'),
    (1, 1000, '<1'),
    (999, 1000, '>99'),
    (1, 100, '1'),
  ],
)
def test_a_share_is_0_or_100_of_none_or_all_alone(number, total, words):
  assert document.share(number, total) == words


def pixels(counts: np.ndarray) -> np.ndarray:
  png = np.frombuffer(confusion.picture(counts), np.uint8)
  return cv2.imdecode(png, cv2.IMREAD_UNCHANGED)


def test_the_picture_of_many_classes():
  """Opacity is the root of the share: 4 of 16 in the cell (7, 30)."""
  counts = np.diag(np.full(40, 16))
  counts[7, 7], counts[7, 30] = 12, 4
  image = pixels(counts)
  assert image.shape == (800, 800, 4)  # 20 pixels a class
  assert image[20 * 7 + 3, 20 * 30 + 19, 3] == 128
  assert image[20 * 7, 20 * 7, 3] == round(255 * 0.75**0.5)
  assert image[20 * 5 + 10, 20 * 5 + 10, 3] == 255
  blue, _, red = image[..., :3].transpose(2, 0, 1)
  assert (blue > red)[20 * 7, 20 * 7] and (red > blue)[20 * 7, 20 * 30]
  empty = image[..., 3] == 0
  assert empty.sum() == (40 * 40 - 41) * 20 * 20

"""What the picture of a confusion matrix shows."""

import numpy as np

from vivit_jax import fonts
from vivit_jax.evaluation import confusion

NAMES = ['pick, up', 'put "down"', '$cut$ $']


def test_a_row_of_the_picture_is_a_true_class():
  counts = np.array([[1, 3, 0], [0, 0, 0], [0, 2, 0]])
  figure = confusion.draw(counts, NAMES, 'verb')
  axes = figure.axes[0]
  drawn = axes.get_images()[0].get_array()
  np.testing.assert_allclose(
    drawn.filled(-1), [[0.25, 0.75, 0], [-1, -1, -1], [0, 1, 0]]
  )
  texts = {text.get_position(): text.get_text() for text in axes.texts}
  assert texts == {(0, 0): '25%', (1, 0): '75%', (1, 2): '100%'}
  named = [label.get_text() for label in axes.get_yticklabels()]
  assert named == NAMES
  label = axes.get_yticklabels()[0]
  assert label.get_fontfamily() == fonts.families()  # any script's


def test_many_classes_are_not_named():
  names = [f'class {i}' for i in range(41)]
  figure = confusion.draw(np.eye(41, dtype=int), names, 'label')
  axes = figure.axes[0]
  assert not axes.texts
  assert 'class 0' not in [x.get_text() for x in axes.get_yticklabels()]

"""The surest mistakes, and the frames that are shown of them."""

import base64
import re

import cv2
import numpy as np
import pytest
from made_up import Videos

from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.evaluation.page import mistakes
from vivit_jax.evaluation.predictions import Table

PROBABILITIES = np.array(
  [
    [0.6, 0.3, 0.1],  # right
    [0.5, 0.3, 0.2],  # wrong, the label is third
    [0.1, 0.8, 0.1],  # wrong, surest
    [0.3, 0.2, 0.5],  # wrong, as sure as the second
  ]
)
LABELS = np.array([0, 2, 0, 0])


def surest(labels, most=9):
  scores = np.log(PROBABILITIES)
  return mistakes.surest(scores, PROBABILITIES, labels, most)


def test_the_surest_first_and_of_equals_the_first():
  found = surest(LABELS)
  assert [mistake.example for mistake in found] == [2, 1, 3]
  assert [mistake.guess for mistake in found] == [1, 0, 2]
  assert [mistake.truth for mistake in found] == [[0], [2], [0]]
  assert [mistake.rank for mistake in found] == [2, 3, 2]
  assert [mistake.example for mistake in surest(LABELS, 1)] == [2]


def test_of_several_labels_any_is_right():
  labels = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], float)
  found = surest(labels)
  assert [mistake.example for mistake in found] == [2, 1]
  assert [mistake.truth for mistake in found] == [[], [1, 2]]  # likeliest first
  assert [mistake.rank for mistake in found] == [0, 2]


def test_heads_share_the_sheets():
  assert mistakes.share_of({'a': 1}) == 24
  assert mistakes.share_of(dict.fromkeys('abc')) == 8
  assert mistakes.share_of(dict.fromkeys(range(99))) == 1


@pytest.fixture
def table() -> Table:
  return Table(
    ids=['a', 'b', 'c', 'd'],
    logits={'label': np.log(PROBABILITIES)[:, None].astype(np.float32)},
    labels={'label': LABELS},
    class_names={'label': ['x', '<y>', 'z']},
    protocol={},
  )


def images(html: str) -> list[np.ndarray]:
  found = re.findall('data:image/jpeg;base64,([^"]+)"', html)
  return [
    cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
    for data in found
  ]


def test_a_sheet_shows_the_video_it_names(table):
  source = Videos(['d', 'c', 'b', 'a'])  # in another order than the table
  html = mistakes.sheets(surest(LABELS, 1), table, 'label', source)
  # Eight equal parts of 20 frames, from their middles.
  frames = [1, 3, 6, 8, 11, 13, 16, 18]
  assert source.asked == [(1, frames)]
  levels = [image.mean() for image in images(html)]
  np.testing.assert_allclose(levels, [10 + frame for frame in frames], atol=1)
  assert '&lt;y&gt;' in html and '80.0%' in html and '10.0%' in html
  assert '8 of 20 frames, 2.0 seconds' in html


def test_frames_are_bounded(table):
  source = Videos('abcd', frames=3, size=(1080, 1920))
  html = mistakes.sheets(surest(LABELS, 1), table, 'label', source)
  assert source.asked == [(2, [0, 1, 2])]
  assert [image.shape for image in images(html)] == [(99, 176, 3)] * 3


def test_videos_that_cannot_be_read_any_more(table):
  class Broken(Videos):
    def decode_frames(self, video, frames):
      raise UnreadableVideo('here', 'is broken')
      yield

  html = mistakes.sheets(surest(LABELS), table, 'label', Broken('abcd'))
  assert html.count('cannot be read any more') == 3
  assert not images(html)
  without = mistakes.sheets(surest(LABELS), table, 'label', None)
  assert without.count('<article') == 3 and not images(without)


def test_no_mistakes(table):
  assert mistakes.sheets([], table, 'label', None) == '<p>No mistakes.</p>'

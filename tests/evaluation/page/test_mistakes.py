"""The surest mistakes, and the frames that are shown of them."""

import base64

import cv2
import numpy as np
from made_up import Videos

from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.evaluation.page import mistakes

PROBABILITIES = np.array(
  [
    [0.6, 0.3, 0.1],  # right
    [0.5, 0.3, 0.2],  # wrong, the label is third
    [0.1, 0.8, 0.1],  # wrong, surest
    [0.3, 0.2, 0.5],  # wrong, as sure as the second
  ]
)
LABELS = np.array([0, 2, 0, 0])


NAMES = ['x', 'y', 'z']


def surest(labels, limit=9):
  scores = np.log(PROBABILITIES)
  return mistakes.surest(scores, PROBABILITIES, labels, NAMES, limit)


def test_the_surest_first_and_of_equals_the_first():
  found = surest(LABELS)
  assert [mistake['row'] for mistake in found] == [2, 1, 3]
  assert found[0] == {
    'row': 2,
    'guess': {'name': 'y', 'probability': 0.8},
    'truth': [{'name': 'x', 'probability': 0.1}],
    'rank': 2,
  }
  assert [mistake['rank'] for mistake in found] == [2, 3, 2]
  assert [mistake['row'] for mistake in surest(LABELS, 1)] == [2]


def test_of_several_labels_any_is_right():
  labels = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], float)
  first, second = surest(labels)
  assert (first['row'], first['truth'], first['rank']) == (2, [], 0)
  assert (second['row'], second['rank']) == (1, 2)
  names = [label['name'] for label in second['truth']]
  assert names == ['y', 'z']  # likeliest first


def decoded(found: dict) -> list[np.ndarray]:
  return [
    cv2.imdecode(
      np.frombuffer(base64.b64decode(x['source'].split(',')[1]), np.uint8), 1
    )
    for x in found['frames']
  ]


def test_frames_are_evenly_spaced_in_the_video_named():
  source = Videos(['d', 'c', 'b', 'a'])
  found = mistakes.frames(source, 'c')
  # Eight equal parts of 20 frames, from their middles.
  numbers = [1, 3, 6, 8, 11, 13, 16, 18]
  assert source.decoded == [(1, numbers)]
  levels = [image.mean() for image in decoded(found)]
  assert levels == [10 + number for number in numbers]  # small: without loss
  assert '8 of 20 frames' in found['about'] and '2.0 s' in found['about']


def test_frames_are_bounded():
  source = Videos('abcd', frames=3, size=(1080, 1920))
  found = mistakes.frames(source, 'c')
  assert source.decoded == [(2, [0, 1, 2])]
  assert [image.shape for image in decoded(found)] == [(99, 176, 3)] * 3
  assert all('image/jpeg' in image['source'] for image in found['frames'])


def test_videos_without_frames():
  class Broken(Videos):
    def decode_frames(self, video, frames):
      raise UnreadableVideo('here', 'is broken')
      yield

  broken = mistakes.frames(Broken('abcd'), 'a')
  assert not broken['frames'] and broken['about']
  assert not any(mistakes.frames(None, 'a').values())
  assert not any(mistakes.frames(Videos('abcd'), 'missing').values())

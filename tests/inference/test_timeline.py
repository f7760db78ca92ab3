"""Time lines, by windows whose labels are known."""

import numpy as np
import pytest
from made import blocks

import vivit_jax
from vivit_jax.inference import timeline, timeline_picture
from vivit_jax.inference.predictor import Ranking, Window


def window(start, end, **labels):
  heads = {
    head: Ranking((label, 'other'), np.array([p, 1 - p]), np.array([p, 1 - p]))
    for head, (label, p) in labels.items()
  }
  return Window(start, end, heads)


def test_neighbours_with_the_same_label_are_one():
  found = list(
    timeline.segments(
      [
        window(0, 4, verb=('stir', 0.9)),
        window(4, 8, verb=('stir', 0.7)),
        window(8, 12, verb=('pour', 0.6)),
        window(10, 14, verb=('stir', 0.5)),
      ]
    )
  )
  assert [(s.start, s.end, s.label) for s in found] == [
    (0, 8, 'stir'),
    (8, 11, 'pour'),  # the overlap from 10 to 12 is shared out
    (11, 14, 'stir'),
  ]
  assert found[0].probability == pytest.approx(0.8)
  assert timeline.line(found[0], 10) == '0:00-0:08 stir 0.80'
  assert timeline.line(found[0], 4, heads=2) == '0:00.0-0:08.0 verb stir 0.80'


def test_heads_have_their_own_segments():
  found = list(
    timeline.segments(
      [
        window(0, 1, verb=('stir', 0.9), noun=('cup', 0.9)),
        window(1, 2, verb=('pour', 0.9), noun=('cup', 0.7)),
      ]
    )
  )
  assert {(s.head, s.start, s.end, s.label) for s in found} == {
    ('verb', 0, 1, 'stir'),
    ('verb', 1, 2, 'pour'),
    ('noun', 0, 2, 'cup'),
  }


def test_clocks():
  assert timeline.clock(0) == '0:00'
  assert timeline.clock(59.6) == '1:00'
  assert timeline.clock(3723) == '1:02:03'
  assert timeline.clock(59.96, whole=False) == '1:00.0'
  assert timeline.clock(3599.94, whole=False) == '59:59.9'


def test_a_window_is_predicted_as_the_video_that_it_is(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames = blocks(5, 97, (32, 48))
  found = list(
    predictor.timeline(
      frames, window=2.0, stride=0.7, views='2x3', frames_per_second=10
    )
  )
  assert [round(10 * w.start) for w in found] == [*range(0, 78, 7)]
  assert found[-1].end == pytest.approx(9.7)
  for one in found:
    first = round(10 * one.start)
    part = predictor.predict(frames[first : first + 20], views='2x3')
    for head, ranking in one.heads.items():
      np.testing.assert_allclose(
        ranking.every, part.heads[head].every, atol=1e-6
      )


def test_a_picture_has_bands_where_the_labels_are(tmp_path):
  windows = [
    window(0, 4, verb=('$tir_', 0.9)),
    window(4, 8, verb=('_pour' * 20, 0.8)),
  ]
  names = {'verb': ['$tir_', '_pour' * 20]}
  figure = timeline_picture.draw('a $ and _', windows, names)
  (axes,) = figure.axes
  bands = [patch for patch in axes.patches if patch.get_width() == 4]
  assert [band.get_x() for band in bands] == [0, 4]
  # `window` gives the first class the likeliest one's probability.
  assert [list(curve.get_ydata()) for curve in axes.lines] == [
    pytest.approx([0.9, 0.8]),
    pytest.approx([0.1, 0.2]),
  ]
  assert bands[0].get_facecolor() != bands[1].get_facecolor()
  timeline_picture.write(tmp_path / 'new' / 'line.png', 'a $', windows, names)
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['line.png']

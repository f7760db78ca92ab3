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


def ranked(start, end, every, names):
  """Returns a window of one head, of these probabilities."""
  every = np.array(every, float)
  order = np.argsort(-every)
  labels = tuple(names[place] for place in order)
  return Window(start, end, {'verb': Ranking(labels, every[order], every)})


def test_many_windows_are_averaged_to_what_a_picture_can_show():
  names = ['stir', 'pour']
  windows = [
    ranked(n / 2, n / 2 + 0.5, [0.9, 0.1] if n % 3 else [0.0, 1.0], names)
    for n in range(7200)
  ]
  few = timeline_picture.merged(windows[:7], {'verb': names}, 3)
  assert [(w.start, w.end) for w in few] == [(0, 1.5), (1.5, 3.0), (3.0, 3.5)]
  np.testing.assert_allclose(
    [w.heads['verb'].every for w in few], [[0.6, 0.4], [0.6, 0.4], [0, 1]]
  )
  assert [w.heads['verb'].labels[0] for w in few] == ['stir', 'stir', 'pour']
  figure = timeline_picture.draw('an hour', windows, {'verb': names})
  (axes,) = figure.axes
  assert len(axes.patches) < 10
  curves = {curve.get_label(): curve.get_ydata() for curve in axes.lines}
  assert len(curves['stir']) == 300
  np.testing.assert_allclose(curves['stir'], 0.6)
  assert axes.get_xlim() == (0, 3600)


def test_the_legend_counts_the_labels_that_it_leaves_out():
  names = [f'label {n}' for n in range(14)]
  windows = [ranked(n, n + 1, np.eye(14)[n], names) for n in range(12)]
  (axes,) = timeline_picture.draw('many', windows, {'verb': names}).axes
  told = [text.get_text() for text in axes.get_legend().get_texts()]
  assert told == [*names[:9], 'and 3 more']
  (axes,) = timeline_picture.draw('few', windows[:9], {'verb': names}).axes
  told = [text.get_text() for text in axes.get_legend().get_texts()]
  assert told == names[:9]


@pytest.mark.parametrize('classes', [2, 14, 400])
def test_a_class_has_its_colour_in_every_picture(classes):
  names = [f'label {n}' for n in range(classes)]

  def colours(*places):
    windows = [
      ranked(n, n + 1, np.eye(classes)[place], names)
      for n, place in enumerate(places)
    ]
    (axes,) = timeline_picture.draw('one', windows, {'verb': names}).axes
    return {x.get_label(): tuple(x.get_color()) for x in axes.lines}

  assert colours(0, 1) == colours(1, 0)
  assert colours(1) == {'label 1': colours(0, 1)['label 1']}
  every = {timeline_picture.colour(n, classes) for n in range(classes)}
  assert len(every) == classes

"""Segments and plots of windows with known labels."""

import numpy as np
import pytest
from made import blocks

import vivit_jax
from vivit_jax.inference import timeline
from vivit_jax.inference.predictor import Ranking, Window


def window(start, end, **labels):
  heads = {
    head: Ranking((label, 'other'), np.array([p, 1 - p]), np.array([p, 1 - p]))
    for head, (label, p) in labels.items()
  }
  return Window(start, end, heads)


def test_neighbours_with_the_same_label_are_one():
  windows = [
    window(0, 4, verb=('stir', 0.9), noun=('cup', 0.9)),
    window(4, 8, verb=('stir', 0.7), noun=('cup', 0.7)),
    window(8, 12, verb=('pour', 0.6), noun=('cup', 0.7)),
    window(10, 14, verb=('stir', 0.5), noun=('cup', 0.7)),
  ]
  result = list(timeline.segments(windows))
  assert [(s.head, s.start, s.end, s.label) for s in result] == [
    ('verb', 0, 8, 'stir'),
    ('verb', 8, 11, 'pour'),  # the middle of the overlap from 10 to 12
    ('noun', 0, 14, 'cup'),
    ('verb', 11, 14, 'stir'),
  ]
  assert result[0].probability == pytest.approx(0.8)
  assert timeline.line(result[0]) == '0:00.0-0:08.0 verb stir 0.80'


def test_clock():
  texts = {0: '0:00.0', 59.96: '1:00.0', 3599.94: '59:59.9', 3723: '1:02:03.0'}
  assert {x: timeline.clock(x) for x in texts} == texts


def test_a_window_is_predicted_as_the_video_that_it_is(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames = blocks(5, 45, (32, 48))
  result = list(
    predictor.timeline(
      frames, window=2.0, stride=0.7, views='2x3', frames_per_second=10
    )
  )
  assert [round(10 * w.start) for w in result] == [0, 7, 14, 21, 25]
  assert result[-1].end == pytest.approx(4.5)
  for one in result:
    first = round(10 * one.start)
    part = predictor.predict(frames[first : first + 20], views='2x3')
    for head, ranking in one.heads.items():
      np.testing.assert_allclose(
        ranking.every, part.heads[head].every, atol=1e-6
      )


def ranked(start, end, every, names):
  """Returns a window of one head with these probabilities."""
  every = np.array(every, float)
  order = np.argsort(-every)
  labels = tuple(names[index] for index in order)
  return Window(start, end, {'verb': Ranking(labels, every[order], every)})


def test_the_plot_has_bands_and_curves(tmp_path):
  names = ['$tir_', '_pour' * 20]
  windows = [ranked(0, 4, [0.9, 0.1], names), ranked(4, 8, [0.2, 0.8], names)]
  figure = timeline.draw('a $ and _', windows, {'verb': names})
  (axes,) = figure.axes
  bands = [patch for patch in axes.patches if patch.get_width() == 4]
  assert [band.get_x() for band in bands] == [0, 4]
  assert [list(curve.get_ydata()) for curve in axes.lines] == [
    pytest.approx([0.9, 0.2]),
    pytest.approx([0.1, 0.8]),
  ]
  assert bands[0].get_facecolor() != bands[1].get_facecolor()
  timeline.write(tmp_path / 'new' / 'line.png', 'a $', windows, {'verb': names})
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['line.png']


@pytest.mark.parametrize('count, more', [(9, []), (12, ['and 3 more'])])
def test_the_legend_counts_the_labels_without_a_colour(count, more):
  names = [f'label {n}' for n in range(14)]
  windows = [ranked(n, n + 1, np.eye(14)[n], names) for n in range(count)]
  (axes,) = timeline.draw('many', windows, {'verb': names}).axes
  texts = [text.get_text() for text in axes.get_legend().get_texts()]
  assert texts == [*names[:9], *more]
  colours = [curve.get_color() for curve in axes.lines]
  assert len(set(colours)) == 9

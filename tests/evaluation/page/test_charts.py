"""Charts: where the points lie, and what is written beside them."""

import re

import numpy as np
import pytest

from vivit_jax.evaluation.page import charts
from vivit_jax.evaluation.page.charts import Line


def points(line: dict) -> list[list[tuple[float, float]]]:
  """Returns the strokes of a line."""
  return [
    [tuple(map(float, pair.split())) for pair in stroke.split('L')]
    for stroke in line['path'].split('M')[1:]
  ]


def test_points_lie_where_their_numbers_say():
  chart = charts.chart(
    'a', [Line('l', [1, 2, 5], [0.5, 0.25, 1.0])], x_label='x', percent=True
  )
  ((first, second, third),) = points(chart['lines'][0])
  # x is linear: the second of 1, 2, 5 lies at a quarter.
  assert second[0] - first[0] == (third[0] - first[0]) / 4
  # y too, and upwards: of 25, 50 and 100.
  assert np.isclose(second[1] - first[1], (second[1] - third[1]) / 3, atol=0.02)
  assert third[1] < first[1] < second[1]
  # A tick is where a point of its value would be.
  ticks = {words: y for y, words in chart['y_ticks']}
  assert np.isclose(ticks['100%'], third[1])
  assert chart['label'] == 'l: 50% at 1, 100% at 5'


@pytest.mark.parametrize('high', [0.8125, 0.8001, 8e-4, 1e5])
def test_ticks_are_exact(high):
  """The trap: ticks 1.25 apart, such as 81.25, must not be written as 81."""
  line = Line('l', [1, 2], [0.8 * high, high])
  ticks = charts.chart('a', [line], x_label='x')['y_ticks']
  places, values = np.array([(y, float(words)) for y, words in ticks]).T
  assert len(values) > 2
  slopes = np.diff(places) / np.diff(values)
  np.testing.assert_allclose(slopes, slopes[0], rtol=1e-2)


def test_what_is_not_finite_is_a_gap():
  line = Line('l', [1, 2, 3, 4], [0.5, np.nan, 0.25, 1.0], dots=True)
  (drawn,) = charts.chart('a', [line], x_label='x')['lines']
  assert [len(stroke) for stroke in points(drawn)] == [1, 2]
  assert [words for *_, words in drawn['dots']] == [
    *('1: 0.50', '3: 0.25', '4: 1.00'),
  ]
  assert charts.chart('a', [Line('l', [1], [np.nan])], x_label='x') is None


def test_a_mark_widens_the_axis():
  lines = [Line('l', [0, 10], [0, 1])]
  chart = charts.chart('a', lines, x_label='x', mark=(20, 'here'))
  assert chart['mark'] == (chart['plot'][2], 'here')


def test_a_dots_area_is_its_videos():
  line = Line('l', [1, 2, 3], [0.1, 0.2, 0.3], dots=True, videos=[100, 25, 1])
  (drawn,) = charts.chart('a', [line], x_label='x')['lines']
  large, quarter, one = (radius for _, _, radius, _ in drawn['dots'])
  assert quarter == large / 2 > one > 0
  counts = [re.search(r'(\d+) video', x[-1])[1] for x in drawn['dots']]
  assert counts == ['100', '25', '1']

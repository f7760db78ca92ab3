"""Charts: where the points lie, and what is said of them."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from vivit_jax.evaluation.page import charts
from vivit_jax.evaluation.page.charts import Line


def drawn(*args, **kwargs) -> tuple[str, ElementTree.Element]:
  """Returns the chart, and its picture, which must be well-formed."""
  html = charts.chart(*args, **kwargs)
  return html, ElementTree.fromstring(re.search('<svg.*?</svg>', html, re.S)[0])


def points(svg: ElementTree.Element) -> list[list[tuple[float, float]]]:
  """Returns the strokes of the lines."""
  found = []
  for path in svg.iter('path'):
    for stroke in path.get('d').split('M')[1:]:
      pairs = [pair.split() for pair in stroke.split('L')]
      found.append([(float(x), float(y)) for x, y in pairs])
  return found


def test_points_lie_where_their_numbers_say():
  _, svg = drawn(
    'a', [Line('l', [1, 2, 5], [0.5, 0.25, 1.0])], x_label='x', percent=True
  )
  ((first, second, third),) = points(svg)
  # x is linear: the second of 1, 2, 5 lies at a quarter.
  assert second[0] - first[0] == (third[0] - first[0]) / 4
  # y too, and upwards: of 25, 50 and 100.
  assert np.isclose(second[1] - first[1], (second[1] - third[1]) / 3, atol=0.02)
  assert third[1] < first[1] < second[1]
  # A tick is where a point of its value would be.
  ticks = {
    text.text: float(text.get('y')) - 4
    for text in svg.iter('text')
    if text.get('text-anchor') == 'end'
  }
  assert np.isclose(ticks['100%'], third[1])


def test_ticks_are_told_exactly():
  """The trap: ticks of 81.25 apart 1.25 must not be told as 81."""
  for high in (0.8125, 0.85, 0.99, 0.8001):
    _, svg = drawn('a', [Line('l', [1, 2], [0.8, high])], x_label='x')
    ticks = [
      (float(text.text), float(text.get('y')))
      for text in svg.iter('text')
      if text.get('text-anchor') == 'end'
    ]
    assert len(ticks) > 2
    values, places = np.array(ticks).T
    slopes = np.diff(places) / np.diff(values)
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-3)


@pytest.mark.parametrize('values', [(0, 0), (1, 1), (0, 1), (0.9, 1)])
def test_percentages_stay_within_0_and_100(values):
  line = Line('l', [1, 2], values, dots=True)
  _, svg = drawn('a', [line], x_label='x', percent=True)
  ticks = [
    float(text.text.rstrip('%'))
    for text in svg.iter('text')
    if text.get('text-anchor') == 'end'
  ]
  assert ticks and 0 <= min(ticks) < max(ticks) <= 100
  places = [y for _, y in points(svg)[0]]
  assert all(10 <= y <= 182 for y in places)  # on the edges, at most


def test_what_is_not_finite_is_a_gap():
  line = Line('l', [1, 2, 3, 4], [0.5, np.nan, 0.25, 1.0])
  _, svg = drawn('a', [line], x_label='x')
  assert [len(stroke) for stroke in points(svg)] == [1, 2]
  assert charts.chart('a', [Line('l', [1], [np.nan])], x_label='x') == ''


def test_one_point_and_equal_values():
  _, svg = drawn('a', [Line('l', [3], [0.0])], x_label='x')
  (((x, y),),) = points(svg)
  assert 0 < x < 360 and 0 < y < 220


def test_lines_differ_by_more_than_colour():
  lines = [Line(str(number), [1, 2], [number, 3]) for number in range(6)]
  html, svg = drawn('a', lines, x_label='x')
  looks = {path.get('stroke-dasharray') for path in svg.iter('path')}
  assert len(looks) == 6
  assert html.count('<li>') == 6


def test_names_are_words():
  html, svg = drawn(
    '<b>"', [Line('</svg>&', [1, 2], [0.5, 0.75], dots=True)], x_label='<x>'
  )
  label = svg.get('aria-label')
  assert label == '<b>". </svg>&: 0.5 at 1, 0.75 at 2'
  assert [title.text for title in svg.iter('title')] == [
    '</svg>&, 1: 0.50',
    '</svg>&, 2: 0.75',
  ]
  assert '<b>' not in html


def test_a_dots_area_is_its_videos():
  line = Line('l', [1, 2, 3], [0.1, 0.2, 0.3], dots=True, videos=[100, 25, 1])
  _, svg = drawn('a', [line], x_label='x')
  large, quarter, one = (float(x.get('r')) for x in svg.iter('circle'))
  assert quarter == large / 2 > one > 0
  told = [title.text for title in svg.iter('title')]
  assert [x.rpartition(', ')[2] for x in told] == [
    '100 videos',
    '25 videos',
    '1 video',
  ]

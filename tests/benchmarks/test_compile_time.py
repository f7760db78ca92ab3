"""The arithmetic of compile times, and of tables."""

import pytest

from benchmarks import compile_time, markdown

FOUND = {
  ('stacked', 'B'): [(1.0, 1.0), (1.0, 3.0), (2.0, 6.0)],
  ('stacked', 'L'): [(1.0, 1.4), (1.0, 3.0), (2.0, 6.8)],
  ('unrolled', 'L'): [(2.0, 10.0)] * 3,
  ("train.py's stacked", 'B'): [(1.0, 3.0)] * 3,
  ("train.py's stacked", 'L'): [(1.0, 5.0)] * 3,
  ("train.py's unrolled", 'L'): [(4.0, 20.0)] * 3,
}


def test_ratios_are_of_the_same_round_and_of_both_parts():
  rows = list(compile_time.ratios(FOUND))
  # 2.4 / 2, 4 / 4, 8.8 / 8; 2.4, 4 and 8.8 of 12.
  assert rows == [
    ('stacked, L / stacked, B', '1.10 (1.00 to 1.20)', '<= 1.3: reached'),
    ('stacked, L / unrolled, L', '0.33 (0.20 to 0.73)', '<= 0.25: missed'),
    (
      "train.py's stacked, L / train.py's stacked, B",
      '1.50 (1.50 to 1.50)',
      '<= 1.3: missed',
    ),
    (
      "train.py's stacked, L / train.py's unrolled, L",
      '0.25 (0.25 to 0.25)',
      '<= 0.25: reached',
    ),
  ]


def test_times_are_medians_of_each_column():
  rows = dict((name, cells) for name, *cells in compile_time.times(FOUND))
  assert rows['stacked, B'] == ['1.00', '3.00', '4.00']
  assert rows['unrolled, L'] == ['2.00', '10.00', '12.00']


@pytest.mark.parametrize(
  ('value', 'bound', 'told'),
  [
    (0.2, '<= 0.2', 'reached'),
    (0.21, '<= 0.2', 'missed'),
    (3.0, '>= 3', 'reached'),
    (2.9, '>= 3', 'missed'),
    (1.0, '< 1', 'missed'),
    (0.9, '< 1', 'reached'),
  ],
)
def test_goals(value, bound, told):
  assert markdown.goal(value, bound) == f'{bound}: {told}'


def test_a_table():
  assert markdown.table(('', 'b'), [('1', '2')]) == (
    '|  | b |\n| --- | --- |\n| 1 | 2 |'
  )

"""Frame numbers of each sampling against hand-computed ones."""

import fractions
import math

import numpy as np
import pytest

from vivit_jax.config import DataConfig
from vivit_jax.data import frame_numbers


def uniform(
  sampling, available, frames, views=1, *, stride=2, views_from='middle', **keys
):
  data = DataConfig(sampling=sampling, frames=frames, **keys)
  numbers = frame_numbers.uniform_frames(
    available, data, stride, views, views_from
  )
  assert numbers.dtype == np.int64
  return numbers.tolist()


@pytest.mark.parametrize(
  'available, frames, views, expected',
  [
    # Segments of 9 / 4: from 0, 2.25, 4.5 (to even: 4), 6.75 to 9.
    (10, 4, 1, [[1, 3, 5, 8]]),
    # At 1/4 and 3/4 of 2, 2, 3 and 2 frames.
    (10, 4, 2, [[0, 2, 4, 7], [1, 3, 6, 8]]),
    # At 1/6, 1/2 and 5/6: the middle view is the single one.
    (10, 4, 3, [[0, 2, 4, 7], [1, 3, 5, 8], [1, 3, 6, 8]]),
    (9, 2, 1, [[2, 6]]),
    (9, 2, 4, [[0, 4], [1, 5], [2, 6], [3, 7]]),
    # 19 / 8 = 2.375: 0, 2, 5, 7, 10 (9.5), 12, 14, 17, 19.
    (20, 8, 1, [[1, 3, 6, 8, 11, 13, 15, 18]]),
    # Fewer frames than segments: 0, 0.5, 1, 1.5, 2 become 0, 0, 1, 2, 2.
    (3, 4, 1, [[0, 0, 1, 2]]),
    (1, 4, 1, [[0, 0, 0, 0]]),
    (1, 4, 2, [[0, 0, 0, 0], [0, 0, 0, 0]]),
    (7, 1, 1, [[3]]),
  ],
)
def test_views_of_segments(available, frames, views, expected):
  assert uniform('segments', available, frames, views) == expected


@pytest.mark.parametrize(
  'available, frames, views, expected',
  [
    (10, 4, 1, [[0, 3, 6, 9]]),
    (11, 4, 1, [[0, 3, 6, 10]]),  # 10 / 3 apart
    (10, 8, 1, [[0, 1, 2, 3, 5, 6, 7, 9]]),  # 9 / 7 apart
    (10, 4, 2, [[0, 2, 5, 7], [1, 3, 6, 9]]),  # those eight, in turn
    (3, 5, 1, [[0, 0, 1, 1, 2]]),
    (1, 3, 1, [[0, 0, 0]]),
    (7, 1, 1, [[0]]),
    (7, 1, 2, [[0], [6]]),
  ],
)
def test_views_of_the_whole_video(available, frames, views, expected):
  assert uniform('whole', available, frames, views) == expected


def test_the_whole_video_is_numpys_linspace_and_not_its_rounding_errors():
  for available in range(1, 400):
    expected = np.linspace(0, available - 1, 16).astype(int).tolist()
    assert uniform('whole', available, 16) == [expected]
  assert np.linspace(0, 153, 64)[21] < 51  # 21 * 153 / 63 is 51
  assert uniform('whole', 154, 64)[0][21] == 51


def draws(sampling, available, frames, count):
  data = DataConfig(sampling=sampling, frames=frames)
  rng = np.random.default_rng(0)
  return np.array([
    frame_numbers.random_frames(available, data, data.stride, rng)
    for _ in range(count)
  ])  # fmt: skip


def test_training_frames_are_uniform_within_their_segments():
  numbers = draws('segments', 10, 4, 3000)
  for column, (low, high) in zip(numbers.T, [(0, 2), (2, 4), (4, 7), (7, 9)]):
    counts = np.bincount(column, minlength=high + 1)
    assert counts[:low].sum() == 0 and len(counts) == high + 1
    expected = 3000 / (high - low + 1)
    assert np.abs(counts[low:] - expected).max() < 5 * expected**0.5
  pairs = set(map(tuple, numbers[:, :2].tolist()))
  assert len(pairs) == 9  # independent of each other


def test_clips_are_those_at_the_stride():
  assert uniform('clip', 20, 4, 2) == [[0, 2, 4, 6], [13, 15, 17, 19]]
  views = uniform('clip', 250, 32, 4)
  assert [view[0] for view in views] == [0, 62, 125, 187]  # 187 / 3 apart
  assert uniform('clip', 250, 32)[0][0] == 93  # the middle
  assert uniform('clip', 3, 4, 2, stride=1) == [[0, 1, 2, 0]] * 2  # looped
  clips = draws('clip', 20, 8, 3000)
  assert (np.diff(clips) == 2).all()
  starts = np.bincount(clips[:, 0])
  assert len(starts) == 6 and min(starts) > 400  # of 500 expected, sigma 20
  assert draws('clip', 5, 4, 1).tolist() == [[0, 2, 4, 1]]


# SlowFast's rates are of 30 frames a second: a stride is rate x fps / 30.
@pytest.mark.parametrize(
  'available, frames, rate, fps, views, expected',
  [
    # 256 frames, of which eight are 255 / 7 apart.
    (300, 8, 32, 30, 1, [[0, 36, 72, 109, 145, 182, 218, 255]]),
    (
      300, 8, 32, 30, 2,
      [[0, 36, 72, 109, 145, 182, 218, 255],
       [22, 58, 94, 131, 167, 204, 240, 277]],
    ),
    # 8 frames, 7 / 3 apart, from 0 and 1.5.
    (11, 4, 2, 30, 2, [[0, 2, 4, 7], [1, 3, 6, 8]]),
    (30, 4, 6, 25, 1, [[0, 6, 12, 19]]),  # 20 frames
    (30, 4, 6, 24, 2, [[0, 6, 12, 18], [5, 11, 17, 23]]),  # 19.2, from 5.4
    (8, 4, 2, 30, 3, [[0, 2, 4, 7]] * 3),  # no room
    (5, 4, 2, 30, 1, [[0, 2, 4, 4]]),  # held
    (9, 1, 3, 30, 2, [[0], [3]]),
  ],
)  # fmt: skip
def test_views_of_spans(available, frames, rate, fps, views, expected):
  options = {'views_from': 'start', 'short_videos': 'hold'}
  stride = rate * fps / 30
  found = uniform('span', available, frames, views, stride=stride, **options)
  assert found == expected


def test_spans_are_exact_numbers_rounded_down():
  """Against fractions: floats would move some frames by one."""
  for frames, rate, fps in ((16, 4, 30), (96, 4, 30), (32, 3, 25), (8, 32, 24)):
    stride = fractions.Fraction(rate * fps, 30)
    last = frames * stride - 1
    for available in range(math.ceil(last) + 1, 400, 7):
      for views in (1, 5):
        expected = [
          [
            math.floor(
              (available - 1 - last) * k / views + i * last / (frames - 1)
            )
            for i in range(frames)
          ]
          for k in range(views)
        ]
        found = uniform(
          'span', available, frames, views,
          stride=float(stride), views_from='start',
        )  # fmt: skip
        assert found == expected


def test_a_span_in_the_middle():
  assert uniform('span', 11, 4) == [[1, 3, 6, 8]]  # from 1.5
  views = np.array(uniform('span', 301, 16, 5, stride=4))
  assert views[:, 0].tolist() == [0, 59, 118, 177, 236]  # 237 is the last
  first, last = uniform('span', 11, 4, 2)
  assert (first, last) == ([0, 2, 4, 7], [3, 5, 7, 10])
  assert uniform('span', 5, 4) == [[0, 2, 4, 2]]  # looped: 7 is 2


def test_clips_from_the_start_or_in_parts():
  """8 frames at stride 2 reach over 15: the last of 25 begins at 10."""
  starts = [
    [clip[0] for clip in uniform('clip', 25, 8, views, views_from='start')]
    for views in (1, 2, 3)
  ]
  assert starts == [[0], [0, 5], [0, 3, 6]]
  starts = [
    [clip[0] for clip in uniform('clip', 25, 8, views, views_from='parts')]
    for views in (1, 2, 4)
  ]  # floor((k + 1/2) 10 / V)
  assert starts == [[5], [2, 7], [1, 3, 6, 8]]
  for sampling in ('segments', 'whole'):
    found = uniform(sampling, 25, 8, 2, views_from='start')
    assert found == uniform(sampling, 25, 8, 2)


def test_training_spans_begin_anywhere():
  numbers = draws('span', 11, 4, 3000)
  # s is uniform in [0, 3]; frames are at s, s + 7/3, s + 14/3 and s + 7.
  clips, counts = np.unique(numbers, axis=0, return_counts=True)
  lengths = {}  # of s, in thirds
  for third in range(9):
    s = fractions.Fraction(2 * third + 1, 6)
    clip = tuple(math.floor(s + fractions.Fraction(7 * i, 3)) for i in range(4))
    lengths[clip] = lengths.get(clip, 0) + 1
  assert set(map(tuple, clips.tolist())) == set(lengths)
  for clip, count in zip(clips.tolist(), counts):
    expected = 3000 * lengths[tuple(clip)] / 9
    assert abs(count - expected) < 5 * expected**0.5


def test_what_a_span_needs():
  data = DataConfig(sampling='span', frames=8)
  assert [frame_numbers.span(data, x) for x in (32, 2.44, 0.01)] == [256, 19, 1]
  assert frame_numbers.fitting_clips(600, data, 32) == 2
  spans = np.array([16])
  for views_from, count in (('middle', 5), ('start', 4)):
    found = frame_numbers.distinct_views(
      np.array([20]), spans, data, views_from
    )
    assert found == [count]


@pytest.mark.parametrize('available, views, views_from, expected', [
  # Parts begin at 0 and 10; a clip of 3 frames spans 5.
  (20, 1, 'start', [[0, 2, 4, 10, 12, 14]]),
  (21, 1, 'middle', [[2, 4, 6, 12, 14, 16]]),
  (20, 2, 'middle', [[0, 2, 4, 10, 12, 14], [5, 7, 9, 15, 17, 19]]),
  (7, 1, 'start', [[0, 2, 2, 3, 5, 5]]),  # each part holds its last frame
  (1, 1, 'start', [[0, 0, 0, 0, 0, 0]]),
])  # fmt: skip
def test_clips_of_equal_parts(available, views, views_from, expected):
  keys = {'clips': 2, 'short_videos': 'hold', 'views_from': views_from}
  assert uniform('clip', available, 6, views, **keys) == expected


def test_training_clips_of_equal_parts():
  data = DataConfig(frames=6, clips=2, stride=2, short_videos='hold')
  draw = np.random.default_rng(0)
  found = np.stack(
    [frame_numbers.random_frames(14, data, 2, draw) for _ in range(200)]
  )
  assert {*found[:, 0]} == {0, 1, 2} and {*found[:, 3]} == {7, 8, 9}
  assert (found[:, 0] + 7 != found[:, 3]).any()  # drawn apart
  np.testing.assert_array_equal(np.diff(found[:, :3]), 2)
  np.testing.assert_array_equal(np.diff(found[:, 3:]), 2)
  assert frame_numbers.span(data, 2) == 10

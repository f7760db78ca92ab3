"""Frames of views and windows, by frames that contain their number."""

import dataclasses
import functools
import tracemalloc

import numpy as np
import pytest

from vivit_jax.config import DataConfig
from vivit_jax.errors import UserError
from vivit_jax.inference import video_views
from vivit_jax.inference.videos import Video

DATA = DataConfig(frames=3, stride=2, crop=(8, 8), short_side=8)  # over 5


def video(frames: int, count: int | None = None, rate: float | None = 10.0):
  """Returns a video of numbered frames, whose container says `count`."""

  def decode():
    for number in range(frames):
      yield np.full((8, 8, 3), number % 256, np.uint8)

  return Video('numbers', rate, frames if count is None else count, decode)


def numbers(views) -> list[list[int]]:
  """Returns the frame numbers of each clip, which its pixels show too."""
  if isinstance(views, video_views.WindowClips):
    views = views.clips, views.frame_numbers
  clips, frames = views
  assert frames.dtype == np.int32
  assert (clips == frames[:, :, None, None, None] % 256).all()
  return frames.tolist()


@pytest.mark.parametrize('count', [20, 19, 3, 0, 200])
def test_views_whatever_the_container_says(count):
  result = video_views.cut_views(video(20, count), DATA, (3, 1))
  # Starts from 0 to 15; the middle one at 7.5, which is even 8.
  assert numbers(result) == [[0, 2, 4], [8, 10, 12], [15, 17, 19]]


def test_crops_are_within_views():
  def decode():
    for number in range(5):
      image = np.zeros((8, 24, 3), np.uint8)
      image[:] = np.arange(24)[:, None] + 30 * number
      yield image

  result = video_views.cut_views(Video('wide', 10, 5, decode), DATA, (1, 3))
  lefts = result[0][:, 1, 0, 0, 0] - 60
  assert lefts.tolist() == [0, 8, 16]
  assert result[1].tolist() == [[0, 2, 4]] * 3


def test_strides_are_of_the_videos_rate():
  data = dataclasses.replace(DATA, frames_per_second=4.0)
  result = video_views.cut_views(video(6), data, (1, 1))  # every 2.5th
  assert numbers(result) == [[0, 3, 5]]


@pytest.mark.parametrize('count', [10, 8, 0, 200])
def test_frames_spread_over_the_whole_video(count):
  segments = dataclasses.replace(DATA, sampling='segments')
  # Segments from 0, 3, 6 to 9; at 1/4 and 3/4 of 3 frames.
  result = video_views.cut_views(video(10, count), segments, (2, 1))
  assert numbers(result) == [[0, 3, 6], [2, 5, 8]]
  whole = dataclasses.replace(DATA, sampling='whole', short_videos='refuse')
  result = video_views.cut_views(video(10, count), whole, (1, 1))
  assert numbers(result) == [[0, 4, 9]]
  result = video_views.cut_views(video(2, count), whole, (1, 1))
  assert numbers(result) == [[0, 0, 1]]


def test_frames_spread_over_each_window():
  whole = dataclasses.replace(DATA, sampling='whole')
  parts = list(video_views.window_clips(video(25), whole, None, 1.0, None))
  assert spans(parts) == [(0.0, 1.0), (1.0, 2.0), (1.5, 2.5)]
  assert [numbers(part) for part in parts] == [
    [[0, 4, 9]], [[10, 14, 19]], [[15, 19, 24]]
  ]  # fmt: skip
  (part,) = video_views.window_clips(video(7), whole, None, 60.0, None)
  assert numbers(part) == [[0, 3, 6]]
  with pytest.raises(UserError, match="'whole'.*--window"):
    next(video_views.window_clips(video(25), whole, None, None, None))
  # Frames 0, 5 and 11: 5.5 apart, at 10 a second.
  assert video_views.seconds_between_frames(video(12), whole) == 0.55
  assert video_views.seconds_between_frames(video(12), DATA) == 0.2
  span = dataclasses.replace(DATA, sampling='span')  # 6 frames
  assert video_views.seconds_between_frames(video(12), span) == 0.25
  assert video_views.seconds_between_frames(video(12, 0), whole) is None


def test_views_from_the_start():
  """Spans of 6 frames, 2.5 apart: 16 frames have starts from 0 to 10."""
  span = dataclasses.replace(DATA, sampling='span')
  result = video_views.cut_views(video(16), span, (2, 1), 'start')
  assert numbers(result) == [[0, 2, 5], [5, 7, 10]]
  result = video_views.cut_views(video(16), DATA, (1, 1), 'start')
  assert numbers(result) == [[0, 2, 4]]


@pytest.mark.parametrize('live', [False, True])
def test_windows_of_spans(live):
  """Views count from a window's start; clips without views fill it."""
  span = dataclasses.replace(DATA, sampling='span')
  opened = dataclasses.replace(video(24), count=None) if live else video(24)
  for views, expected in (
    ((2, 1), [[[0, 2, 5], [3, 5, 8]], [[12, 14, 17], [15, 17, 20]]]),
    (None, [[[0, 2, 5], [6, 8, 11]], [[12, 14, 17], [18, 20, 23]]]),
  ):
    parts = video_views.window_clips(opened, span, views, 1.2, None, 'start')
    assert [numbers(part) for part in parts] == expected
  parts = video_views.window_clips(opened, span, None, None, None, 'start')
  assert [numbers(part) for part in parts] == [
    [[start, start + 2, start + 5]] for start in (0, 6, 12, 18)
  ]


def spans(parts):
  return [(round(p.start, 3), round(p.end, 3)) for p in parts]


@pytest.mark.parametrize('count', [23, 22, 20, 46, 5, 0])
def test_windows_whatever_the_container_says(count):
  parts = list(
    video_views.window_clips(video(23, count), DATA, None, 0.5, None)
  )
  wanted = [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.0), (1.8, 2.3)]
  if count in (22, 20, 5):  # a last window that was not the last
    extra = {22: (1.7, 2.2), 20: None, 5: None}[count]
    wanted = sorted({*wanted, *([extra] if extra else [])})
  assert spans(parts) == wanted
  for part in parts:
    start = round(part.start * 10)
    assert numbers(part) == [[start, start + 2, start + 4]]


def test_windows_that_overlap_and_hold_several_clips():
  parts = list(video_views.window_clips(video(30), DATA, None, 1.1, 0.8))
  assert spans(parts) == [(0.0, 1.1), (0.8, 1.9), (1.6, 2.7), (1.9, 3.0)]
  # 11 frames have room for two clips over 5, from the 0th and the 6th on.
  assert numbers(parts[1]) == [[8, 10, 12], [14, 16, 18]]


@pytest.mark.parametrize('frames', [5, 8, 12, 23, 30])
@pytest.mark.parametrize(
  'arguments',
  [(None, 1.1, 0.8), ((1, 1), 0.5, 1.2), ((3, 1), 1.0, 0.1), (None, 60, None)],
)
def test_live_windows_are_those_of_the_file(frames, arguments):
  """Though the number of frames is unknown, and they are decoded once."""
  stored = video(frames)
  images = stored.decode()
  live = Video('live', 10.0, None, lambda: images)
  parts = list(video_views.window_clips(live, DATA, *arguments))
  expected = list(video_views.window_clips(stored, DATA, *arguments))
  assert spans(parts) == spans(expected)
  for part, other in zip(parts, expected):
    assert numbers(part) == numbers(other)


def test_a_live_video_without_frames_is_refused():
  live, data = Video('live', 10.0, None, lambda: iter([])), DATA
  data = dataclasses.replace(data, short_videos='loop')
  with pytest.raises(UserError, match='live has no frames'):
    next(video_views.window_clips(live, data, None, None, None))


def test_a_live_video_that_breaks_off_has_a_last_window_and_an_error():
  def decode(frames):
    yield from video(frames).decode()
    raise UserError('lost')

  for frames in (12, 6, 3):
    broken = Video('x', 10.0, None, functools.partial(decode, frames))
    seen = []
    with pytest.raises(UserError, match='lost'):
      for part in video_views.window_clips(broken, DATA, None, 1.0, None):
        seen.append((part.start, part.end, numbers(part)))
    first = (0.0, 1.0, [[0, 2, 4], [5, 7, 9]])
    last = (0.2, 1.2, [[2, 4, 6], [7, 9, 11]])
    short = [(0.0, 0.6, [[0, 2, 4]])]
    assert seen == {12: [first, last], 6: short, 3: []}[frames]


def test_strides_that_are_no_whole_frames():
  parts = list(video_views.window_clips(video(12), DATA, None, 0.5, 0.25))
  assert [round(part.start * 10) for part in parts] == [0, 2, 5, 7]


def test_a_window_longer_than_the_video_is_all_of_it():
  (part,) = video_views.window_clips(video(7), DATA, None, 60.0, None)
  assert (part.start, part.end) == (0.0, 0.7)
  assert numbers(part) == [[1, 3, 5]]  # as many as fit, in the middle
  for views, expected in (
    (None, [[0, 2, 4], [8, 10, 12]]),
    ((3, 1), [[0, 2, 4], [4, 6, 8], [8, 10, 12]]),
  ):
    (part,) = video_views.window_clips(video(13, 12), DATA, views, 15.0, None)
    assert numbers(part) == expected


@pytest.mark.parametrize('live', [False, True])
def test_windows_keep_few_frames(live):
  """Memory is of the windows that are open, not of the video."""

  def peak(frames):
    opened = video(frames)
    if live:
      opened = dataclasses.replace(opened, count=None)
    tracemalloc.start()
    for _ in video_views.window_clips(opened, DATA, None, 0.5, 0.1):
      pass
    result = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result

  peak(50)
  assert peak(3000) < 1.5 * peak(100)


@pytest.mark.parametrize(
  'arguments, changes, words',
  [
    ((None, 0.2, None), {}, '0.2 seconds'),  # shorter than a clip
    ((None, 0.5, 0.05), {}, '0.05 seconds'),  # less than a frame
    ((None, 0.5, None), {'rate': None}, 'frame rate of numbers'),
    ((None, None, None), {'frames': 3}, 'numbers has 3 frames'),
  ],
)
def test_invalid_windows_are_refused(arguments, changes, words):
  opened = video(**{'frames': 30} | changes)
  with pytest.raises(UserError, match=words):
    next(video_views.window_clips(opened, DATA, *arguments))


def test_a_video_shorter_than_a_clip_is_refused():
  with pytest.raises(UserError, match='short_videos'):
    video_views.cut_views(video(1), DATA, (1, 1))

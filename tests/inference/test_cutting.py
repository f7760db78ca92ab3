"""Which frames windows and views are of, by frames that tell their number."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from vivit_jax.config import DataConfig
from vivit_jax.errors import UserError
from vivit_jax.inference import cutting
from vivit_jax.inference.cutting import Views
from vivit_jax.inference.videos import Video

DATA = DataConfig(frames=3, stride=2, crop=(8, 8), short_side=8)  # over 5


def video(frames: int, count: int | None = None, rate: float | None = 10.0):
  """Returns a video of numbered frames, whose container says `count`."""

  def decode():
    for number in range(frames):
      yield np.full((8, 8, 3), number % 256, np.uint8)

  return Video('numbers', rate, frames if count is None else count, decode)


def numbers(clips: np.ndarray) -> list[list[int]]:
  """Returns the numbers of the frames of each clip; all crops are whole."""
  assert (clips == clips[:, :, :1, :1, :1]).all()
  return clips[:, :, 0, 0, 0].tolist()


@pytest.mark.parametrize('count', [20, 19, 24, 3, 0, 200])
def test_views_whatever_the_container_says(count):
  found = cutting.cut(video(20, count), DATA, Views(3, 1))
  # Starts from 0 to 15; the middle one at 7.5, which is even 8.
  assert numbers(found) == [[0, 2, 4], [8, 10, 12], [15, 17, 19]]


def test_crops_are_within_views():
  def decode():
    for number in range(5):
      image = np.zeros((8, 24, 3), np.uint8)
      image[:] = np.arange(24)[:, None] + 30 * number
      yield image

  found = cutting.cut(Video('wide', 10, 5, decode), DATA, Views(1, 3))
  lefts = found[:, 1, 0, 0, 0] - 60
  assert lefts.tolist() == [0, 8, 16]


def test_strides_are_of_the_videos_rate():
  data = dataclasses.replace(DATA, frames_per_second=4.0)
  found = cutting.cut(video(6), data, Views(1, 1))  # every 2.5th
  assert numbers(found) == [[0, 3, 5]]


def spans(parts):
  return [(round(p.start, 3), round(p.end, 3)) for p in parts]


@pytest.mark.parametrize('count', [23, 22, 24, 20, 33, 46, 5, 0])
def test_windows_whatever_the_container_says(count):
  parts = list(cutting.windows(video(23, count), DATA, None, 0.5, None))
  wanted = [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.0), (1.8, 2.3)]
  if count in (22, 20, 5):  # a last window that was not the last
    extra = {22: (1.7, 2.2), 20: None, 5: None}[count]
    wanted = sorted({*wanted, *([extra] if extra else [])})
  assert spans(parts) == wanted
  for part in parts:
    start = round(part.start * 10)
    assert numbers(part.clips) == [[start, start + 2, start + 4]]


def test_windows_that_overlap_and_hold_several_clips():
  parts = list(cutting.windows(video(30), DATA, None, 1.1, 0.8))
  assert spans(parts) == [(0.0, 1.1), (0.8, 1.9), (1.6, 2.7), (1.9, 3.0)]
  # 11 frames have room for two clips over 5, from the 0th and the 6th on.
  assert numbers(parts[1].clips) == [[8, 10, 12], [14, 16, 18]]


def test_gaps_between_windows():
  parts = list(cutting.windows(video(30), DATA, Views(1, 1), 0.5, 1.2))
  assert spans(parts) == [(0.0, 0.5), (1.2, 1.7), (2.4, 2.9), (2.5, 3.0)]


def test_strides_that_are_no_whole_frames():
  parts = list(cutting.windows(video(12), DATA, None, 0.5, 0.25))
  assert [round(part.start * 10) for part in parts] == [0, 2, 5, 7]


def test_a_window_longer_than_the_video_is_all_of_it():
  (part,) = cutting.windows(video(7), DATA, None, 60.0, None)
  assert (part.start, part.end) == (0.0, 0.7)
  assert numbers(part.clips) == [[1, 3, 5]]  # as many as fit, in the middle


@pytest.mark.parametrize('count', [13, 12, 0, 200])
def test_a_window_has_no_more_clips_than_its_video_holds(count):
  (part,) = cutting.windows(video(13, count), DATA, None, 15.0, None)
  assert (part.start, part.end) == (0.0, 1.3)
  assert numbers(part.clips) == [[0, 2, 4], [8, 10, 12]]
  (part,) = cutting.windows(video(13, count), DATA, Views(3, 1), 15.0, None)
  assert numbers(part.clips) == [[0, 2, 4], [4, 6, 8], [8, 10, 12]]


def test_a_container_that_says_too_little_shortens_no_window():
  parts = list(cutting.windows(video(23, 5), DATA, None, 1.0, None))
  assert spans(parts) == [(0.0, 1.0), (1.0, 2.0), (1.3, 2.3)]


@pytest.mark.parametrize('seconds', [0.0, -1.0, 1e9, float('inf'), np.nan])
def test_seconds_of_no_window(seconds):
  with pytest.raises(UserError, match='at most 604800, which is a week'):
    cutting.check_seconds('--window', seconds)
  cutting.check_seconds('--window', 3600.0)


def test_one_frame_is_no_frames():
  with pytest.raises(UserError, match='has 1 frame, and a clip'):
    cutting.cut(video(1), DATA, Views(1, 1))
  with pytest.raises(UserError, match='5 frames, room for 1 different clip,'):
    cutting.cut(video(5), DATA, Views(2, 1, asked=True))


def test_windows_keep_few_frames():
  """Memory is of the windows that are open, not of the video."""

  def peak(frames):
    tracemalloc.start()
    for _ in cutting.windows(video(frames), DATA, None, 0.5, 0.1):
      pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found

  peak(50)
  assert peak(3000) < 1.5 * peak(100)


def test_what_windows_cannot_be():
  def first(*arguments, **changes):
    next(cutting.windows(video(30, **changes), DATA, *arguments))

  with pytest.raises(UserError, match='has 2 frames .* at least 0.50 seconds'):
    first(None, 0.2, None)
  with pytest.raises(UserError, match='every 0.05 seconds'):
    first(None, 0.5, 0.05)
  with pytest.raises(UserError, match='frame rate of numbers is not known'):
    first(None, 0.5, None, rate=None)


@pytest.mark.parametrize('text', ['4', '4x2', '0x1', '4x3x1', 'x', '-1x1', ''])
def test_views_that_are_none(text):
  with pytest.raises(UserError, match='temporal x spatial'):
    cutting.parse(text)
  assert cutting.parse('4x3') == Views(4, 3, asked=True)

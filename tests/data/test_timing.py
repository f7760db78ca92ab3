"""Exact segments; variable frame rates; unusual images."""

import av
import numbered
import numpy as np
import pytest

from vivit_jax.data import decode, timing
from vivit_jax.data.decode import UnreadableVideo


def seen(path, *segment):
  images = decode.decode_video(path, None, *segment)
  return [numbered.number(image) for image in images]


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.webm', 'x.avi'])
def test_a_segment_has_exactly_the_frames_of_its_seconds(tmp_path, name):
  """Frame n is at n / 10 s; key frames at 0, 0.9, 1.8, 2.7 (others by B)."""
  path = tmp_path / name
  numbered.write(path, 36, key_frames=9)
  assert seen(path) == list(range(36))
  assert seen(path, 1.1, 1.5) == [11, 12, 13, 14]
  assert seen(path, 1.11, 1.51) == [12, 13, 14, 15]
  assert seen(path, 1.8, 2.1) == [18, 19, 20]  # begins at a key frame
  assert seen(path, 1.7, 2.0) == [17, 18, 19]  # ends at one
  assert seen(path, 0.0, 0.2) == [0, 1]
  assert seen(path, 3.3, 3.6) == [33, 34, 35]
  assert seen(path, 2.5) == list(range(25, 36))
  assert seen(path, None, 0.3) == [0, 1, 2]
  for begin in range(0, 33):
    expected = [begin, begin + 1, begin + 2]
    assert seen(path, begin / 10, begin / 10 + 0.3) == expected


def test_a_missing_segment_is_named(tmp_path):
  path = tmp_path / 'x.mp4'
  numbered.write(path, 20)
  with pytest.raises(UnreadableVideo, match='5 to 6 s'):
    seen(path, 5.0, 6.0)
  with pytest.raises(UnreadableVideo, match='1.9 s'):
    seen(path, 1.5, 3.0)
  # Annotations may end a little after the video.
  assert seen(path, 1.0, 2.05) == list(range(10, 20))


def test_a_segment_is_found_by_seeking(tmp_path):
  """Decoding begins at the key frame before it."""
  path = tmp_path / 'x.mkv'
  numbered.write(path, 36, key_frames=6, bf='0')
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    frames = timing.decode_from(container, stream, 2.5)
    assert numbered.number(next(frames).to_ndarray(format='rgb24')) == 24


def test_times_are_relative_to_the_first_frame(tmp_path):
  path = tmp_path / 'x.mkv'
  numbered.write(path, 20, ticks=range(30, 50))
  with av.open(str(path)) as container:
    assert container.streams.video[0].start_time == 3000
  assert seen(path) == list(range(20))
  assert seen(path, 0.5, 0.8) == [5, 6, 7]


VARIABLE = [0, 1, 2, 3, 4, 5, 15]  # tenths of a second


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'a:b.mkv'])
def test_no_frame_of_a_burst_is_skipped(tmp_path, monkeypatch, name):
  """Six frames 0.1 s apart, then one a second later: 10 samples a second.

  Frame 5 is on display from 0.5 s until frame 6 comes at 1.5 s. FFmpeg would
  take a colon in a relative name for a protocol.
  """
  monkeypatch.chdir(tmp_path)
  numbered.write(tmp_path / name, 7, ticks=VARIABLE)
  assert seen(name) == [0, 1, 2, 3, 4, *[5] * 10, 6]
  assert decode.frame_rate(name) == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
  'ticks',
  [
    [*range(30), *range(3029, 15_030, 3000)],
    [*range(0, 15_000, 3000), *range(15_000, 15_030)],
  ],
)
def test_frames_are_held_within_bounds_and_none_is_skipped(tmp_path, ticks):
  """30 frames in a second, and 5 frames 100 s apart: 35 in 501 s.

  At 30 samples a second, 15,000 would be held. At most 16 for each frame are.
  """
  path = tmp_path / 'x.mp4'
  numbered.write(path, 35, rate=30, ticks=ticks)
  frames, rate = seen(path), decode.frame_rate(path)
  assert sorted(set(frames)) == list(range(35)) and frames == sorted(frames)
  assert 14 * 35 < len(frames) <= 16 * 35
  for number, tick in enumerate(ticks):
    if tick not in range(1, 31) and tick <= 15_000:  # not in a burst
      assert abs(frames.index(number) / rate - tick / 30) <= 0.5 / rate
  held = list(decode.decode_video(path))  # repeated, not copied
  assert len({id(image) for image in held}) == 35


def test_frames_that_were_late_do_not_raise_the_rate(tmp_path):
  """30 frames a second; eight wait for the ninth, and come 2 ms apart."""
  path = tmp_path / 'x.mkv'
  regular = [round(1000 * n / 30) for n in range(39)]
  ticks = [
    *regular[:14],
    *range(regular[22] - 16, regular[22], 2),
    *regular[22:],
  ]
  numbered.write(path, 39, rate=1000, ticks=ticks)
  assert decode.frame_rate(path) == pytest.approx(30, rel=0.02)
  assert sorted(set(seen(path))) == list(range(39))


def test_constant_rates_are_not_resampled(tmp_path):
  for name in ('x.mp4', 'x.mkv', 'x.webm', 'x.avi'):
    numbered.write(tmp_path / name, 30, rate=24)
    assert timing.measure(tmp_path / name).moments is None
    assert timing.measure(tmp_path / name, 0.3, 0.9).moments is None
  # A camera dropped one frame: no frame is off by more than one.
  numbered.write(tmp_path / 'x.mp4', 20, ticks=[*range(9), *range(10, 21)])
  assert seen(tmp_path / 'x.mp4') == list(range(20))


def test_a_segment_of_a_variable_rate_has_the_videos_average_rate(tmp_path):
  """11 frames 0.1 s apart, then 5 frames 0.8 s apart: 16 in 5 s.

  The container's average is 16 frames in (4.2 + 0.8 s =) 5 s or (4.2 + 0.1)
  s: 3.2 or 3.7 a second. From 1.4 to 3.0 s that is 6 samples, 0.27 to 0.31 s
  apart. On display are 11 since 1.0 + 0.8 = 1.8 s, 12 since 2.6 s.
  """
  path = tmp_path / 'x.mkv'
  ticks = [*range(11), 18, 26, 34, 42, 50]
  numbered.write(path, 16, ticks=ticks)
  with av.open(str(path)) as container:
    rate = float(container.streams.video[0].average_rate)
  frames = seen(path, 1.4, 3.0)
  times = [1.4 + n / rate for n in range(100) if 1.4 + n / rate < 3.0 - 1e-6]
  expected = [
    max(n for n in range(16) if ticks[n] <= 10 * (time + 0.5 / rate))
    for time in times
  ]  # a frame begins at the sample nearest to it
  assert frames == expected and set(frames) == {10, 11, 12}


@pytest.mark.parametrize(
  'codec, pixels, name',
  [
    ('ffv1', 'gray', 'grey.mkv'),
    ('ffv1', 'bgra', 'alpha.mkv'),
    ('png', 'rgba', 'alpha.avi'),
    ('ffv1', 'gray10le', 'deep.mkv'),
  ],
)
def test_grey_and_alpha_become_rgb(tmp_path, codec, pixels, name):
  """With an odd size, which few codecs accept: 31 x 45."""
  picture = np.zeros((31, 45, 3), np.uint8)
  picture[:, 20:] = 200
  path = tmp_path / name
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, rate=10)
    stream.height, stream.width, stream.pix_fmt = 31, 45, pixels
    for _ in range(3):
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      container.mux(stream.encode(frame.reformat(format=pixels)))
    container.mux(stream.encode())
  frames = list(decode.decode_video(path))
  assert len(frames) == 3
  for frame in frames:
    np.testing.assert_allclose(frame.astype(int), picture, atol=3)
  back = decode.decode_jpeg(decode.encode_jpeg(frames[0]), 'x')
  np.testing.assert_allclose(back.astype(int), picture, atol=12)


def test_a_burst_within_a_segment_is_whole(tmp_path):
  """Frames 2 to 21 come 10 a second, the others one a second."""
  path = tmp_path / 'x.mkv'
  numbered.write(path, 30, ticks=[0, 10, *range(20, 40), *range(49, 122, 10)])
  frames = seen(path, 1.5, 5.5)  # 40 samples: 5 before the burst, 15 after it
  assert frames == [*[1] * 5, *range(2, 21), *[21] * 10, *[22] * 6]
  assert decode.frame_rate(path, 1.5, 5.5) == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.webm', 'x.avi', 'x.ogv'])
def test_a_segment_may_be_the_last_frame(tmp_path, name):
  path = tmp_path / name
  numbered.write(path, 20)
  assert seen(path, 1.9, 2.0) == [19]
  with pytest.raises(UnreadableVideo, match='within the segment'):
    seen(path, 1.9, 2.1)
  numbered.write(path, 1)
  assert seen(path, 0.0, 0.1) == [0]

"""Live video: what is live, a steady rate, lost connections."""

import itertools
import os
import threading

import av
import numbered
import numpy as np
import pytest
import served

from vivit_jax.data import decode, live, resampling
from vivit_jax.data.containers import UnreadableVideo


def test_what_is_live(tmp_path):
  (tmp_path / 'file.mp4').touch()
  os.mkfifo(tmp_path / 'pipe')
  sources = {
    '-': True,
    'http://a.b/c': True,
    'rtsp://user:secret@camera/1': True,
    str(tmp_path / 'pipe'): True,
    '/dev/null': True,
    str(tmp_path / 'file.mp4'): False,
    str(tmp_path): False,
    'missing.mp4': False,
    tmp_path / 'pipe': False,  # found in a folder of videos
  }
  assert {x: live.is_live(x) for x in sources} == sources


@pytest.mark.parametrize(
  'source, name',
  [
    ('rtsp://user:secret@camera/1', 'rtsp://camera/1'),
    ('rtsp://user:se@cr:et@camera/1', 'rtsp://camera/1'),
    ('https://camera/@user/1?token=secret@x', 'https://camera/@user/1'),
    ('srt://camera:1?passphrase=secret', 'srt://camera:1'),
    ('folder/what?', 'folder/what?'),
  ],
)
def test_names_have_no_secrets(source, name):
  assert live.name_of(source) == name


@pytest.mark.parametrize(
  'times, expected',
  [
    ([0.0, 0.1, 0.2, 0.3], [0, 1, 2, 3]),
    ([5.0, 5.11, 5.19, 5.32], [0, 1, 2, 3]),  # from the first frame on
    ([0.0, 0.1, 0.3, 0.4], [0, 1, 2, 3]),  # one is missing
    ([0.0, 0.1, 0.2, 0.6, 0.7], [0, 1, 2, 2, 2, 2, 3, 4]),
    ([0.0, 0.1, 7.0, 0.0, 0.1], [*[0], *[1] * 69, 2, 3, 4]),  # a new clock
    ([0.0, 0.1, 99.0, 99.1], [0, 1, 2, 3]),
    ([None, None, None], [0, 1, 2]),
    # Twenty a second: from 1 s ahead on, every second one is skipped.
    ([n / 20 for n in range(30)], [*range(21), 22, 24, 26, 28]),
  ],
)
def test_live_frames_become_steady(times, expected):
  images = zip(times, range(len(times)))
  assert list(resampling.steady(images, 10.0)) == expected


@pytest.mark.parametrize('name', ['x.mkv', 'x.webm', 'x.mp4'])
def test_frames_of_a_url_are_those_of_the_file(tmp_path, name):
  numbered.write(tmp_path / name, 30)
  stored = list(decode.decode_video(tmp_path / name))
  with served.folder(tmp_path) as url:
    video = live.LiveVideo(f'{url}/{name}')
    assert video.rate == pytest.approx(10)
    frames = list(video.frames(video.rate))
  np.testing.assert_array_equal(frames, stored)


@pytest.mark.parametrize('name', ['x.mkv', 'x.webm', 'x.ogv'])
@pytest.mark.parametrize('ticks', [range(30), [*range(25), *range(25, 50, 5)]])
def test_a_rate_that_is_not_declared_is_that_of_the_file(tmp_path, name, ticks):
  """The containers declare 1000 frames per second (their clock), or none."""
  fine = {'rate': 10, 'ticks': ticks}
  if name != 'x.ogv':
    fine = {'rate': 1000, 'ticks': [100 * tick for tick in ticks]}
  numbered.write(tmp_path / name, len(ticks), **fine)
  stored = [numbered.number(x) for x in decode.decode_video(tmp_path / name)]
  assert decode.frame_rate(tmp_path / name) == pytest.approx(10)
  with served.folder(tmp_path) as url:
    video = live.LiveVideo(f'{url}/{name}')
    assert video.rate == pytest.approx(10)
    frames = [numbered.number(x) for x in video.frames(video.rate)]
  assert frames == stored


@pytest.mark.parametrize(
  'codec, kind, options, rate',
  [
    ('libx264', 'h264', {}, 10),
    ('libx264', 'h264', {'bf': '0'}, 10),
    ('mpeg2video', 'mpeg2video', {}, 24),
    ('libx265', 'hevc', {'x265-params': 'log-level=0'}, 10),
    ('libx265', 'hevc', {'x265-params': 'log-level=0:vui-timing-info=0'}, None),
    ('mjpeg', 'mjpeg', {}, None),
    ('mjpeg', 'mpjpeg', {}, None),  # of cameras
  ],
)
def test_without_times_the_rate_is_the_codecs(
  tmp_path, codec, kind, options, rate
):
  path = tmp_path / 'x'
  with av.open(str(path), 'w', format=kind) as container:
    stream = container.add_stream(codec, rate=rate or 10, options=options)
    stream.width, stream.height = 96, 64
    stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    for number in range(30):
      image = numbered.frame(number, (64, 96))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
    container.mux(stream.encode())
  assert decode.frame_rate(path) == rate
  with served.folder(tmp_path) as url:
    video = live.LiveVideo(f'{url}/x')
    assert video.rate == rate
    frames = list(itertools.islice(video.frames(rate), 30))
  frames = [numbered.number(frame) for frame in frames]
  assert frames == list(range(30))


def test_the_connection_may_end_or_break_off(tmp_path):
  """All frames come, also those that the decoder holds."""
  numbered.write(tmp_path / 'x.mkv', 30)
  data = (tmp_path / 'x.mkv').read_bytes()
  with served.ending(data) as url:  # no length was announced
    frames = list(live.LiveVideo(url).frames(None))
  assert [numbered.number(frame) for frame in frames] == list(range(30))
  with served.ending(data, f'Content-Length: {len(data) + 1000}\r\n') as url:
    frames = live.LiveVideo(url).frames(None)
    seen = [numbered.number(next(frames)) for _ in range(30)]
    with pytest.raises(UnreadableVideo, match=url):
      next(frames)
  assert seen == list(range(30))


def test_damaged_frames_are_left_out(tmp_path):
  path = tmp_path / 'x.mp4'
  numbered.write(path, 30, key_frames=1, size=(64, 96))
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  noise = np.random.default_rng(1).integers(0, 256, 150, np.uint8)
  data[middle : middle + 150] = noise.tobytes()
  path.write_bytes(data)
  with pytest.raises(UnreadableVideo, match='corrupt'):
    list(decode.decode_video(path))
  with served.folder(tmp_path) as url:
    frames = list(live.LiveVideo(f'{url}/x.mp4').frames(None))
  seen = [numbered.number(frame) for frame in frames]
  assert seen == sorted(set(seen)) and 20 <= len(seen) < 30
  assert seen[:10] == list(range(10)) and seen[-1] == 29


def test_what_cannot_be_opened_is_named(tmp_path):
  (tmp_path / 'text.mkv').write_text('no video')
  with served.folder(tmp_path) as url:
    for source in (f'{url}/none.mkv', f'{url}/text.mkv', '/dev/null', 'x://y'):
      with pytest.raises(UnreadableVideo, match=source):
        live.LiveVideo(source)


def test_a_dead_stream_is_given_up(tmp_path, monkeypatch):
  monkeypatch.setattr(live, '_PATIENCE', 1.0)
  numbered.write(tmp_path / 'x.mkv', 39, key_frames=1, bf='0')
  data = (tmp_path / 'x.mkv').read_bytes()
  with served.silent_after(data[: len(data) * 3 // 4]) as url:
    frames = live.LiveVideo(url).frames(None)
    seen = [numbered.number(next(frames)) for _ in range(10)]
    assert seen == list(range(10))
    with pytest.raises(UnreadableVideo, match='1 seconds'):
      list(frames)
  with served.silent_after(b'') as url:
    with pytest.raises(UnreadableVideo, match='1 seconds'):
      live.LiveVideo(url)


def test_a_live_video_can_be_stopped(tmp_path):
  numbered.write(tmp_path / 'x.mkv', 39, key_frames=1, bf='0')
  data, stop = (tmp_path / 'x.mkv').read_bytes(), threading.Event()
  with served.silent_after(data) as url:
    frames = live.LiveVideo(url, stop=stop).frames(None)
    assert numbered.number(next(frames)) == 0
    stop.set()
    assert len(list(frames)) < 38

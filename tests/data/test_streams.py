"""Files with several streams, and files that hide frames."""

import fractions

import av
import numbered
import numpy as np
import pytest
from av.stream import Disposition

from vivit_jax.data import decode
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.inference import videos


def numbers(path) -> list[int]:
  return [numbered.number(image) for image in decode.decode_video(path)]


def cut_without_encoding(source, path, frame: int) -> None:
  """As `ffmpeg -ss -c copy`: copies the packets from the key frame before."""
  with av.open(str(source)) as old, av.open(str(path), 'w') as new:
    stream = old.streams.video[0]
    copy = new.add_stream_from_template(stream)
    start = int(frame / 10 / stream.time_base)
    old.seek(start, stream=stream)
    for packet in old.demux(stream):
      if packet.dts is not None:
        packet.pts, packet.dts = packet.pts - start, packet.dts - start
        packet.stream = copy
        new.mux(packet)


@pytest.mark.parametrize('key_frames', [20, 36])
@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_frames_before_a_cut_are_hidden_as_ffmpeg_hides_them(
  tmp_path, suffix, key_frames
):
  source, path = tmp_path / 'x.mp4', tmp_path / f'cut{suffix}'
  numbered.write(source, 36, key_frames=key_frames)
  cut_without_encoding(source, path, 30)
  # Matroska has no edit lists, and shows the frames from the key frame on.
  first = 30 if suffix != '.mkv' else 20 if key_frames == 20 else 0
  assert numbers(path) == list(range(first, 36))
  assert videos.open_video(path).count == 36 - first


def write_streams(path, frames=1, sizes=(), covers=(), sound=False) -> None:
  """Writes gray videos and covers of these sizes, and sound."""
  # An MP4's length is then at the beginning, as Matroska's.
  options = {'movflags': 'faststart'} if path.suffix == '.mp4' else {}
  with av.open(str(path), 'w', options=options) as container:
    streams = []
    for size in (*sizes, *covers):
      codec = 'libx264' if len(streams) < len(sizes) else 'mjpeg'
      stream = container.add_stream(codec, rate=10)
      stream.height, stream.width = size
      stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
      if codec == 'mjpeg':
        stream.disposition = Disposition.attached_pic
      streams.append((stream, size))
    if sound:
      audio = container.add_stream('aac', rate=8000)
    for number in range(frames):
      for stream, size in streams[: None if number == 0 else len(sizes)]:
        frame = av.VideoFrame.from_ndarray(numbered.frame(number, size))
        frame.pts, frame.time_base = number, fractions.Fraction(1, 10)
        container.mux(stream.encode(frame))
      if sound:
        silence = np.zeros((1, 800), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, 'fltp', 'mono')
        frame.sample_rate, frame.pts = 8000, 800 * number
        frame.time_base = fractions.Fraction(1, 8000)
        container.mux(audio.encode(frame))
    for stream, _ in streams:
      container.mux(stream.encode())
    if sound:
      container.mux(audio.encode())


def test_the_cover_of_a_song_is_no_video(tmp_path):
  path = tmp_path / 'song.mp4'
  write_streams(path, 1, covers=[(32, 40)], sound=True)
  with pytest.raises(UnreadableVideo, match='no video stream'):
    numbers(path)


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4'])
def test_the_largest_video_is_taken_and_no_cover(tmp_path, suffix):
  """Here, Matroska lacks the mark of the cover."""
  path = tmp_path / f'x{suffix}'
  sizes, cover = [(16, 16), (32, 40)], (64, 64)
  write_streams(path, 20, sizes, covers=[cover], sound=True)
  frames = list(decode.decode_video(path))
  assert [frame.shape for frame in frames] == [(32, 40, 3)] * 20


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4'])
def test_sound_does_not_hide_that_a_file_is_truncated(tmp_path, suffix):
  path = tmp_path / f'x{suffix}'
  write_streams(path, 39, [(32, 40)], sound=True)
  assert len(numbers(path)) == 39
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(UnreadableVideo, match='damaged'):
    numbers(path)

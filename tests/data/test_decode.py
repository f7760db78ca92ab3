"""Decoding against the written frames; broken files; JPEG."""

import fractions
import pickle
import struct

import av
import numpy as np
import pytest
from conftest import names, opened, run, video, write_broken

from vivit_jax.data import decode, moving_shapes
from vivit_jax.errors import UserError


def psnr(image, other):
  error = np.mean((image.astype(float) - other) ** 2)
  return 10 * np.log10(255**2 / error)


def test_all_frames_are_decoded_in_order(videos):
  written = video(3)
  frames = list(decode.decode_video(videos / '3.mp4'))
  assert len(frames) == len(written)
  for number, frame in enumerate(frames):
    assert frame.dtype == np.uint8
    ratios = [psnr(frame, other) for other in written]
    assert int(np.argmax(ratios)) == number
    assert ratios[number] > 30


def test_broken_videos_are_named_with_a_reason(videos):
  for name, reason in write_broken(videos).items():
    with pytest.raises(decode.UnreadableVideo) as caught:
      list(decode.decode_video(videos / name))
    assert name in str(caught.value)
    assert reason in str(caught.value), name
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
  'matrix, expected',
  [
    ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # an upright phone
    ((0, -1, 1, 0), lambda image: np.rot90(image)),
    ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    ((1, 0, 0, -1), lambda image: image[::-1]),
    ((0, 1, 1, 0), lambda image: np.swapaxes(image, 0, 1)),
    ((0, -1, -1, 0), lambda image: np.swapaxes(image, 0, 1)[::-1, ::-1]),
  ],
)
def test_the_display_matrix_is_applied(tmp_path, matrix, expected):
  """x' = a x + c y and y' = b x + d y, of the matrix a, b, c, d."""
  path = tmp_path / '2.mp4'
  moving_shapes.write_video(path, video(2))
  plain = next(decode.decode_video(path))
  data = bytearray(path.read_bytes())
  at = data.index(b'tkhd') + 44  # past version, times, duration and layer
  a, b, c, d = (value * (1 << 16) for value in matrix)
  data[at : at + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
  path.write_bytes(data)
  turned = next(decode.decode_video(path))
  np.testing.assert_array_equal(turned, expected(plain))


@pytest.mark.parametrize(
  'ratio, turned, size',
  [
    ((64, 45), False, (64, 128)),
    ((8, 9), False, (64, 80)),
    ((4, 3), True, (120, 64)),  # stored pixels are stretched, then turned
    ((1280, 1281), False, (64, 90)),  # left by scaling to an even width
  ],
)
@pytest.mark.parametrize('name', ['x.mp4', 'x.mkv', 'x.mpg'])
def test_pixels_become_square(tmp_path, name, ratio, turned, size):
  """The left half of 64 x 90 stored pixels is bright."""
  path = tmp_path / name
  picture = np.zeros((64, 90, 3), np.uint8)
  picture[:, :45] = 200
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(
      'mpeg2video' if name == 'x.mpg' else 'libx264', rate=25
    )
    stream.height, stream.width, stream.pix_fmt = 64, 90, 'yuv420p'
    # MPEG-2 stores the shape of the frame: 4:3, 16:9 or square pixels.
    shape = (4 * 64, 3 * 90) if name == 'x.mpg' else ratio
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(*shape)
    if turned and name == 'x.mp4':
      stream.set_display_rotation(90)
    for _ in range(3):
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  if name == 'x.mpg':
    size = (64, 86)  # 64 * 4 / 3 = 85.3
  elif turned and name == 'x.mkv':
    size = size[::-1]
  stored = next(decode.decode_video(path, square_pixels=False))
  assert sorted(stored.shape) == [3, 64, 90]
  for image in decode.decode_video(path):
    assert image.shape == (*size, 3)
    bright = np.mean(image > 100)
    assert bright == pytest.approx(0.5, abs=0.01)
    assert image.min() < 10 and 190 < image.max() < 210
  small = next(decode.decode_video(path, short_side=32))
  assert min(small.shape[:2]) == 32
  assert max(small.shape[:2]) == round(max(size) / 2)


def test_pixels_stay_as_stored_in_records_on_request(tmp_path):
  path = tmp_path / 'videos' / '0.mp4'
  path.parent.mkdir()
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 48, 'yuv420p'
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(4, 3)
    for image in video(0):
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
    container.mux(stream.encode())
  shapes = {}
  for square in (True, False):
    run(tmp_path, names(1), square_pixels=square, overwrite=True)
    (_, image), *_ = opened(tmp_path).decode_frames(0, range(23))
    shapes[square] = image.shape
  assert shapes == {True: (32, 64, 3), False: (32, 48, 3)}
  with pytest.raises(UserError, match='--overwrite'):  # other records
    run(tmp_path, names(1))


def test_large_frames_are_shrunk_and_small_ones_kept(videos):
  shrunk = next(decode.decode_video(videos / '1.mp4', short_side=16))
  assert shrunk.shape == (16, 24, 3)
  kept = next(decode.decode_video(videos / '1.mp4', short_side=64))
  assert kept.shape == (32, 48, 3)
  means = kept.reshape(16, 2, 24, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(shrunk, means, atol=0.6)  # rounding

"""Decoding against the frames that were written, and every broken file."""

import pickle

import numpy as np
import pytest
from conftest import video, write_broken

from vivit_jax.data import decode


def psnr(image, other):
  error = np.mean((image.astype(float) - other) ** 2)
  return 10 * np.log10(255**2 / error)


def test_all_frames_come_in_order(videos):
  written = video(3)
  frames = list(decode.decode_video(videos / '3.mp4'))
  assert len(frames) == len(written)
  for number, frame in enumerate(frames):
    assert frame.dtype == np.uint8
    ratios = [psnr(frame, other) for other in written]
    assert int(np.argmax(ratios)) == number
    assert ratios[number] > 30


def test_broken_videos_say_which_and_why(videos):
  for name, reason in write_broken(videos).items():
    with pytest.raises(decode.UnreadableVideo) as caught:
      list(decode.decode_video(videos / name))
    assert name in str(caught.value)
    assert reason in str(caught.value), name
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_large_frames_are_shrunk_and_small_ones_kept(videos):
  shrunk = next(decode.decode_video(videos / '1.mp4', short_side=16))
  assert shrunk.shape == (16, 24, 3)
  kept = next(decode.decode_video(videos / '1.mp4', short_side=64))
  assert kept.shape == (32, 48, 3)
  means = kept.reshape(16, 2, 24, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(shrunk, means, atol=0.6)  # rounding


def test_jpeg_keeps_the_frame_and_its_colours():
  frame = np.zeros((16, 16, 3), np.uint8)
  frame[..., 0] = 200  # red comes back as red
  back = decode.decode_jpeg(decode.encode_jpeg(frame), '')
  np.testing.assert_allclose(back.astype(int), frame, atol=4)


@pytest.mark.parametrize('cut', [0, 40])
def test_damaged_jpeg_names_its_place(cut):
  data = decode.encode_jpeg(video(0)[0])[:cut]
  with pytest.raises(decode.UnreadableVideo, match="video 'a' is a damaged"):
    decode.decode_jpeg(data, "video 'a'")

"""Both storages return the frames that were packed."""

import numpy as np
import pytest
from conftest import names, run, video

from vivit_jax.data import datasets, decode, moving_shapes, storage
from vivit_jax.data.decode import UnreadableVideo


def chunks(name, images, quality=None):
  store = storage.STORAGES[name]
  quality = store.quality[0] if quality is None else quality
  return store, list(store.pack_all(images, quality))


@pytest.mark.parametrize('size', [(32, 48), (31, 47), (33, 48)])
def test_frames_of_a_chunk_of_video_keep_their_order(size):
  """Lossless, but for colours: even sizes are subsampled."""
  height, width = size
  images = video(1, frames=70)[:, :height, :width]
  images = np.pad(
    images, [(0, 0), (0, max(0, height - 32)), (0, 0), (0, 0)], 'edge'
  )
  store, packed = chunks('video', images, quality=0)
  assert [count for count, _ in packed] == [32, 32, 6]
  for chunk, (count, held) in enumerate(packed):
    assert len(held) == 1
    found = dict(store.unpack(held, range(count), ''))
    for place, image in found.items():
      assert image.shape == (height, width, 3)
      number = chunk * 32 + place
      errors = [np.abs(image.astype(int) - other).mean() for other in images]
      assert np.argmin(errors) == number and errors[number] < 8
    # Single frames are the same, without decoding the later ones.
    for place, image in store.unpack(held, [1, 4], ''):
      np.testing.assert_array_equal(image, found[place])


@pytest.mark.parametrize('name', storage.STORAGES)
def test_damage_is_named(name):
  store, packed = chunks(name, video(3, frames=32))
  held = packed[0][1]
  last = len(held) - 1 if name == 'jpeg' else 31
  for damaged in (
    [part[: len(part) // 3] for part in held],
    [b'' for _ in held],
    [b'words, no frames' for _ in held],
  ):
    with pytest.raises(UnreadableVideo, match='^here '):
      list(store.unpack(damaged, [last], 'here'))


def test_prepared_as_video_the_same_frames_are_read(tmp_path, videos):
  moving_shapes.write_video(videos / '3.mp4', video(3, frames=40))
  splits = []
  for name in storage.STORAGES:
    run(tmp_path, names(4), storage=name, data_dir=tmp_path / name)
    splits.append(datasets.open_split('videos/mine', tmp_path / name, 'train'))
  one, other = splits
  assert other.frame_counts.tolist() == [23, 23, 23, 40]
  for number, asked in ((0, [22, 0, 0]), (3, [39, 31, 32, 5])):
    for a, b in zip(
      one.read_frames(number, asked), other.read_frames(number, asked)
    ):
      assert np.abs(a.astype(int) - b).mean() < 8


def test_repeated_frames_are_encoded_once(monkeypatch):
  first, second = (np.full((16, 16, 3), n, np.uint8) for n in (50, 90))
  jpegs = [decode.encode_jpeg(image) for image in (first, second)]
  encoded, encode = [], decode.encode_jpeg
  monkeypatch.setattr(
    decode, 'encode_jpeg', lambda *x: encoded.append(x) or encode(*x)
  )
  images = [first, first, second, first]
  ((count, packed),) = storage.STORAGES['jpeg'].pack_all(images, 95)
  assert count == 4 and len(encoded) == 2
  assert packed == [jpegs[0], jpegs[0], jpegs[1], jpegs[0]]

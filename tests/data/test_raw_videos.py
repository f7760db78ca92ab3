"""Paths of examples, folders of frames, records of other programs."""

import cv2
import numbered
import numpy as np
import owners
import pytest

from vivit_jax.data import decode, raw_videos, storage, tfrecords
from vivit_jax.data.annotations import Example
from vivit_jax.data.decode import UnreadableVideo


def test_the_first_existing_path_is_taken(tmp_path):
  example = Example('a/x.mp4', 'x', {}, ('b/', 'c/y.mp4', 'd'))
  assert raw_videos.locate(tmp_path, example) == tmp_path / 'a' / 'x.mp4'
  for path in ('d', 'c/y.mp4', 'b/x.mp4', 'a/x.mp4'):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text('')
    assert raw_videos.locate(tmp_path, example) == tmp_path / path


@pytest.mark.parametrize('name', ['a' * 300 + '.mp4', 'a\0b.mp4', 'v/x.mp4'])
def test_impossible_file_names_are_broken_videos(tmp_path, name):
  (tmp_path / 'v').write_text('')  # a file instead of a folder
  example = Example(name, 'x', {}, ('b/', 'c'))
  with pytest.raises(UnreadableVideo):
    list(raw_videos.frames(tmp_path, example))


@pytest.fixture
def folder(tmp_path):
  owners.frame_folder(tmp_path / 'v', 'frame_{:04d}.jpg', 1, 12)
  return tmp_path / 'v'


def seen(folder, frames=None, **options):
  example = Example('v', 'v', {}, frames=frames)
  images = list(raw_videos.frames(folder.parent, example, **options))
  return [numbered.number(image) for image in images]


def test_frames_come_in_the_order_of_their_numbers(folder):
  assert seen(folder) == list(range(12))
  assert seen(folder, (3, 6)) == [2, 3, 4, 5]
  (folder / 'notes.txt').write_text('no picture')
  cv2.imwrite(str(folder / 'frame_13.png'), numbered.frame(20))
  assert seen(folder, (10, 13)) == [9, 10, 11, 20]


def jpegs(folder, short_side=None):
  """Returns the JPEGs of all chunks of the example 'v'."""
  options = storage.EncodingOptions('jpeg', 95, short_side)
  chunks = raw_videos.chunks(folder, Example('v', 'v', {}), options)
  assert [count for count, _ in chunks] == [len(held) for _, held in chunks]
  return [jpeg for _, held in chunks for jpeg in held]


def test_small_jpegs_are_copied_and_large_ones_shrunk(folder):
  files = [file.read_bytes() for file in sorted(folder.iterdir())]
  assert jpegs(folder.parent) == jpegs(folder.parent, 32) == files
  shrunk = jpegs(folder.parent, 16)
  images = [decode.decode_jpeg(jpeg, '') for jpeg in shrunk]
  assert images[0].shape == (16, 20, 3)
  assert [numbered.number(image) for image in images] == list(range(12))


def test_other_images_become_jpegs_also_grey_ones(tmp_path):
  grey = np.full((8, 12), 90, np.uint8)
  (tmp_path / 'v').mkdir()
  cv2.imwrite(str(tmp_path / 'v' / '1.png'), grey)
  cv2.imwrite(str(tmp_path / 'v' / '2.jpg'), grey)
  for jpeg in jpegs(tmp_path):
    assert jpeg[:3] == b'\xff\xd8\xff'
    image = decode.decode_jpeg(jpeg, '')
    assert image.shape == (8, 12, 3) and np.all(np.abs(image - 90.0) <= 2)


def test_faults_of_a_folder_are_named(folder, tmp_path):
  def refused(named, frames=None, where=folder):
    with pytest.raises(UnreadableVideo, match=named):
      seen(where, frames)

  refused('30 to 40', (30, 40))
  refused('frame 12', (6, 20))
  assert seen(folder, (3, 13)) == list(range(2, 12))  # one of eleven is missing
  (folder / 'frame_0005.jpg').unlink()
  refused('frame 5', (3, 7))
  (folder / 'frame_0005.jpg').write_bytes(b'')
  refused('frame 2', (3, 7))
  whole = (folder / 'frame_0006.jpg').read_bytes()
  (folder / 'frame_0005.jpg').write_bytes(whole[: len(whole) // 2])
  refused('frame 0', (5, 7))
  cv2.imwrite(str(folder / 'frame_0005.jpg'), numbered.frame(4, (16, 16)))
  refused('size at frame 1', (4, 7))
  cv2.imwrite(str(folder / 'other_5.png'), numbered.frame(4))
  refused('frame_0005.jpg and other_5.png')
  empty = tmp_path / 'empty' / 'v'
  empty.mkdir(parents=True)
  refused(str(empty), where=empty)


def test_a_record_is_read_once_for_its_frames_and_its_rate(
  tmp_path, monkeypatch
):
  read, offsets = tfrecords.read_record, []

  def counted(path, offset):
    offsets.append(offset)
    return read(path, offset)

  monkeypatch.setattr(tfrecords, 'read_record', counted)
  example = Example('x.tfrecord', 'x', {}, record=0)
  for rate, numbers in ((12.5, [3, 4, 5]), (25.0, [7, 8])):  # two files
    jpegs = [decode.encode_jpeg(numbered.frame(number)) for number in numbers]
    context = {'image/frame_rate': [rate]}
    owners.write_records(tmp_path / 'x.tfrecord', [(context, jpegs)])
    images = raw_videos.frames(tmp_path, example)
    assert [numbered.number(image) for image in images] == numbers
    assert raw_videos.rate(tmp_path, example) == rate
  assert offsets == [0, 0]

"""Where an example is found, and folders of frames."""

import cv2
import numbered
import numpy as np
import owners
import pytest

from vivit_jax.data import decode, sources, tfrecords
from vivit_jax.data.annotations import Example
from vivit_jax.data.decode import UnreadableVideo


def test_the_first_place_that_exists_counts(tmp_path):
  example = Example('a/x.mp4', 'x', {}, ('b/', 'c/y.mp4', 'd'))
  assert sources.locate(tmp_path, example) == tmp_path / 'a' / 'x.mp4'
  for place in ('d', 'c/y.mp4', 'b/x.mp4', 'a/x.mp4'):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('')
    assert sources.locate(tmp_path, example) == tmp_path / place


@pytest.mark.parametrize('name', ['a' * 300 + '.mp4', 'a\0b.mp4', 'v/x.mp4'])
def test_names_that_no_file_can_have_are_broken_videos(tmp_path, name):
  (tmp_path / 'v').write_text('')  # a file where a folder is to be
  example = Example(name, 'x', {}, ('b/', 'c'))
  with pytest.raises(UnreadableVideo):
    list(sources.frames(tmp_path, example))


@pytest.fixture
def folder(tmp_path):
  owners.frame_folder(tmp_path / 'v', 'frame_{:04d}.jpg', 1, 12)
  return tmp_path / 'v'


def seen(folder, frames=None, **options):
  example = Example('v', 'v', {}, frames=frames)
  images = list(sources.frames(folder.parent, example, **options))
  return [numbered.number(image) for image in images]


def test_frames_come_in_the_order_of_their_numbers(folder):
  assert seen(folder) == list(range(12))
  assert seen(folder, (3, 6)) == [2, 3, 4, 5]
  (folder / 'notes.txt').write_text('no picture')
  cv2.imwrite(str(folder / 'frame_13.png'), numbered.frame(20))
  assert seen(folder, (10, 13)) == [9, 10, 11, 20]


def test_small_jpegs_are_copied_and_large_ones_shrunk(folder):
  example = Example('v', 'v', {})
  files = [file.read_bytes() for file in sorted(folder.iterdir())]
  assert sources.jpegs(folder.parent, example) == files
  assert sources.jpegs(folder.parent, example, short_side=32) == files
  shrunk = sources.jpegs(folder.parent, example, short_side=16)
  images = [decode.decode_jpeg(jpeg, '') for jpeg in shrunk]
  assert images[0].shape == (16, 20, 3)
  assert [numbered.number(image) for image in images] == list(range(12))


def test_other_pictures_become_jpegs_and_grey_is_no_exception(tmp_path):
  grey = np.full((8, 12), 90, np.uint8)
  (tmp_path / 'v').mkdir()
  cv2.imwrite(str(tmp_path / 'v' / '1.png'), grey)
  cv2.imwrite(str(tmp_path / 'v' / '2.jpg'), grey)
  jpegs = sources.jpegs(tmp_path, Example('v', 'v', {}))
  assert [jpeg[:3] for jpeg in jpegs] == [b'\xff\xd8\xff'] * 2
  for jpeg in jpegs:
    image = decode.decode_jpeg(jpeg, '')
    assert image.shape == (8, 12, 3) and np.all(np.abs(image - 90.0) <= 2)


def test_what_a_folder_lacks_is_named(folder, tmp_path):
  def reason(frames=None, where=folder):
    with pytest.raises(UnreadableVideo) as caught:
      seen(where, frames)
    return caught.value.reason

  assert reason((30, 40)) == 'has none of the frames 30 to 40'
  assert reason((6, 20)) == 'ends at frame 12, in the part from 6 to 20'
  assert seen(folder, (3, 13)) == list(range(2, 12))  # one of eleven
  (folder / 'frame_0005.jpg').unlink()
  assert reason((3, 7)) == 'has no frame 5'
  (folder / 'frame_0005.jpg').write_bytes(b'')
  assert reason((3, 7)) == 'is damaged: frame 2 is no picture'
  whole = (folder / 'frame_0006.jpg').read_bytes()
  (folder / 'frame_0005.jpg').write_bytes(whole[: len(whole) // 2])
  assert reason((5, 7)) == 'is damaged: frame 0 is no picture'
  cv2.imwrite(str(folder / 'frame_0005.jpg'), numbered.frame(4, (16, 16)))
  assert reason((4, 7)) == 'changes its size at frame 1'
  cv2.imwrite(str(folder / 'other_5.png'), numbered.frame(4))
  assert reason() == 'has both frame_0005.jpg and other_5.png as frame 5'
  empty = tmp_path / 'empty' / 'v'
  empty.mkdir(parents=True)
  assert reason(where=empty) == 'is a folder without pictures'


def test_a_record_is_read_once_for_its_frames_and_its_rate(
  tmp_path, monkeypatch
):
  read, places = tfrecords.read, []

  def counted(path, at):
    places.append(at)
    return read(path, at)

  def write(rate, *numbers):
    jpegs = [decode.encode_jpeg(numbered.frame(number)) for number in numbers]
    owners.write_records(
      tmp_path / 'x.tfrecord', [({'image/frame_rate': [rate]}, jpegs)]
    )

  def found():
    example = Example('x.tfrecord', 'x', {}, record=0)
    images = list(sources.frames(tmp_path, example))
    numbers = [numbered.number(image) for image in images]
    return sources.rate(tmp_path, example), numbers

  monkeypatch.setattr(tfrecords, 'read', counted)
  write(12.5, 3, 4, 5)
  assert found() == (12.5, [3, 4, 5]) and places == [0]
  write(25.0, 7, 8)  # another file by the same name
  assert found() == (25.0, [7, 8]) and places == [0, 0]

"""The frames of an annotated example, wherever they are.

A video file or a part of one, a folder of pictures, or a record of another
program. Pictures that are JPEGs already, and small enough, are not encoded
anew.
"""

import functools
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from vivit_jax import files
from vivit_jax.data import decode, storage, tfrecords
from vivit_jax.data.annotations import Example
from vivit_jax.data.containers import UnreadableVideo

_PICTURES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
_FRAMES = 'image/encoded'
_RATE = 'image/frame_rate'
_LEAST_SHARE = 0.9  # of a part's frames, as of a video's
_JPEG = b'\xff\xd8\xff'


def locate(videos: pathlib.Path, example: Example) -> pathlib.Path:
  """Returns the first place of an example that exists, or its `path`."""
  first = videos / example.path
  name = first.name
  places = [first]
  for other in example.elsewhere:
    places.append(
      videos / other / name if other[-1:] == '/' else videos / other
    )
  # os.path's say no to names that no file can have, where pathlib's raise.
  return next((place for place in places if os.path.exists(place)), first)


def frames(
  videos: pathlib.Path, example: Example, short_side: int | None = None
) -> Iterator[np.ndarray]:
  """Yields the frames of an example, uint8 RGB [H, W, 3].

  Args:
    videos: the folder of videos.
    example: what it is to be of.
    short_side: as in `decode.decode_video`.

  Raises:
    UnreadableVideo: as there.
  """
  path = locate(videos, example)
  if example.record is None and not os.path.isdir(path):
    yield from decode.decode_video(path, short_side, example.start, example.end)
    return
  for _, image in _decoded(path, example):
    yield decode.shrink(image, short_side)


def jpegs(
  videos: pathlib.Path,
  example: Example,
  short_side: int | None = None,
  quality: int = 95,
) -> list[bytes]:
  """Returns the frames of an example as JPEGs.

  Those that are JPEGs where they come from, and not larger than `short_side`,
  are copied.

  Args:
    videos, example, short_side: as in `frames`.
    quality: of what is encoded, 1 to 100.

  Raises:
    UnreadableVideo: as in `frames`.
  """
  path = locate(videos, example)
  if example.record is None and not os.path.isdir(path):
    return [
      decode.encode_jpeg(image, quality)
      for image in frames(videos, example, short_side)
    ]
  found = []
  for data, image in _decoded(path, example):
    small = decode.shrink(image, short_side)
    as_it_is = data.startswith(_JPEG) and small is image
    found.append(data if as_it_is else decode.encode_jpeg(small, quality))
  return found


def chunks(
  videos: pathlib.Path, example: Example, form: storage.Form
) -> list[tuple[int, list[bytes]]]:
  """Returns the frames of an example as they are stored, chunk by chunk.

  Args:
    videos, example: as in `frames`.
    form: how they are stored.

  Returns:
    The number of frames, and what a record holds of them, of each chunk.

  Raises:
    UnreadableVideo: as in `frames`.
  """
  store = storage.find(form.storage)
  if form.storage != 'jpeg':
    images = frames(videos, example, form.short_side)
    return list(store.pack_all(images, form.quality))
  found = jpegs(videos, example, form.short_side, form.quality)
  size = store.chunk_frames
  cut = [found[at : at + size] for at in range(0, len(found), size)]
  return [(len(chunk), chunk) for chunk in cut]


def rate(videos: pathlib.Path, example: Example) -> float | None:
  """Returns frames a second of an example, or None where nothing tells.

  Raises:
    UnreadableVideo: its file cannot be opened.
  """
  path = locate(videos, example)
  if example.record is not None:
    told = _record(path, example.record).context.get(_RATE, [])
    return float(told[0]) if told and isinstance(told[0], float) else None
  if os.path.isdir(path):
    return None
  return decode.frame_rate(path, example.start, example.end)


def seconds(videos: pathlib.Path, example: Example) -> float:
  """Returns how long an example lasts; 0 where nothing tells.

  Raises:
    UnreadableVideo: its file cannot be opened.
  """
  if example.start is not None and example.end is not None:
    return example.end - example.start
  path = locate(videos, example)
  if example.record is not None or os.path.isdir(path):
    return 0.0
  return decode.seconds(path)


def _pictures(path: pathlib.Path, example: Example) -> Iterator[bytes]:
  """Yields the content of each picture of a folder or a record."""
  if example.record is None:
    for file in _files(path, example):
      try:
        yield file.read_bytes()
      except OSError as error:
        raise UnreadableVideo(
          path, f'has {file.name}, which cannot be read: {error.strerror}'
        ) from None
    return
  record = _record(path, example.record)
  pictures = record.sequences.get(_FRAMES, [])
  if not pictures:
    raise UnreadableVideo(
      path,
      f"has a record at byte {example.record} without pictures in '{_FRAMES}'; "
      f'it has {", ".join(sorted(record.sequences)) or "no sequences"}',
    )
  for values in pictures:
    yield values[0] if values and isinstance(values[0], bytes) else b''


def _record(path: pathlib.Path, at: int) -> tfrecords.Record:
  return _read_record(path, files.stamp(path), at)


@functools.lru_cache(1)  # a record is decoded, and then asked for its rate
def _read_record(
  path: pathlib.Path, stamp: tuple[int, int] | None, at: int
) -> tfrecords.Record:
  del stamp  # keys the cache
  return tfrecords.read(path, at)


def _decoded(
  path: pathlib.Path, example: Example
) -> Iterator[tuple[bytes, np.ndarray]]:
  """Yields each picture as it is, and decoded; checked."""
  shape = None
  for number, data in enumerate(_pictures(path, example)):
    image = decode.decode_picture(data)
    if image is None:
      of = (
        '' if example.record is None else f' of the record at {example.record}'
      )
      raise UnreadableVideo(
        path, f'is damaged: frame {number}{of} is no picture'
      )
    shape = image.shape if shape is None else shape
    if image.shape != shape:
      raise UnreadableVideo(path, f'changes its size at frame {number}')
    yield data, image


def _files(path: pathlib.Path, example: Example) -> list[pathlib.Path]:
  """Returns the files of a folder of frames, or of the part of it."""
  names = _numbered(path, path.stat().st_mtime_ns)
  if not names:
    raise UnreadableVideo(path, 'is a folder without pictures')
  first, last = example.frames or (min(names), max(names))
  wanted = [number for number in range(first, last + 1) if number in names]
  if not wanted:
    raise UnreadableVideo(path, f'has none of the frames {first} to {last}')
  if len(wanted) < wanted[-1] - first + 1:
    lacking = next(n for n in range(first, last + 1) if n not in names)
    raise UnreadableVideo(path, f'has no frame {lacking}')
  if len(wanted) < _LEAST_SHARE * (last - first + 1):
    raise UnreadableVideo(
      path, f'ends at frame {wanted[-1]}, in the part from {first} to {last}'
    )
  return [path / names[number] for number in wanted]


@functools.lru_cache(2)  # parts of a video follow each other
def _numbered(path: pathlib.Path, changed: int) -> dict[int, str]:
  """Returns the pictures of a folder by the last number in their names."""
  del changed  # keys the cache
  names = {}
  for file in sorted(path.iterdir()):
    number = re.search(r'(\d+)\D*$', file.stem)
    if file.suffix.lower() in _PICTURES and number:
      other = names.setdefault(int(number[1]), file.name)
      if other != file.name:
        raise UnreadableVideo(
          path, f'has both {other} and {file.name} as frame {int(number[1])}'
        )
  return names

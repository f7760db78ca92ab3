"""Frames and frame rate of an annotated example, from the user's files.

An example is a video file or a segment of one, a folder of images, or a record
in a TFRecord file. Functions raise UnreadableVideo if it is missing, damaged or
incomplete.
"""

import math
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from vivit_jax.data import containers, decode, storage, tfrecords, timing
from vivit_jax.data.annotations import Example
from vivit_jax.data.containers import UnreadableVideo

IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
_FRAMES = 'image/encoded'
_RATE = 'image/frame_rate'
_MIN_SHARE = 0.9  # min share of a segment's frames that exist, as in `decode`
_JPEG = b'\xff\xd8\xff'


def locate(videos: pathlib.Path, example: Example) -> pathlib.Path:
  """Returns the first existing path of an example, or else its `path`.

  If there is none, a video of the same name with another ending is taken.
  """
  paths = places(videos, example)
  for path in paths:
    # os.path returns False for impossible names, where pathlib raises.
    if os.path.exists(path):
      return path
  others = (_other_ending(path) for path in paths)
  return next((path for path in others if path), paths[0])


def places(videos: pathlib.Path, example: Example) -> list[pathlib.Path]:
  """Returns the paths at which an example may be, in the order of trying."""
  first = videos / example.path
  others = [
    videos / other / (first.name if other.endswith('/') else '')
    for other in example.alternatives
  ]
  return [first, *others]


def _other_ending(path: pathlib.Path) -> pathlib.Path | None:
  """Returns a video with the name of `path` but another ending, or None."""
  try:
    listed = _videos_by_stem(path.parent)
  except (OSError, ValueError):  # no such folder; an impossible name
    return None
  is_video = path.suffix.lower() in decode.SUFFIXES
  return listed.get(path.stem if is_video else path.name)


@containers.cached_until_changed(1024)  # a folder for each class
def _videos_by_stem(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  return {
    path.stem: path
    for path in sorted(folder.iterdir(), reverse=True)
    if path.suffix.lower() in decode.SUFFIXES
  }


def frames(
  videos: pathlib.Path,
  example: Example,
  short_side: int | None = None,
  keep_jpegs: bool = False,
  square_pixels: bool = True,
) -> Iterator[np.ndarray | bytes]:
  """Yields the frames of an example, uint8 RGB [H, W, 3].

  With `keep_jpegs`, it yields the bytes of a JPEG that `short_side` does not
  shrink. Other arguments are as in `decode.decode_video`.
  """
  path = locate(videos, example)
  if _is_video(path, example):
    bounds = _bounds(path, example)
    yield from decode.decode_video(path, short_side, *bounds, square_pixels)
    return
  shape = None
  for number, data in enumerate(_image_bytes(path, example)):
    image = decode.decode_image(data)
    if image is None:
      record = '' if example.record is None else f' of record {example.record}'
      raise UnreadableVideo(
        path, f'is damaged: frame {number}{record} is not an image'
      )
    shape = shape or image.shape
    if image.shape != shape:
      raise UnreadableVideo(path, f'changes its size at frame {number}')
    small = decode.shrink(image, short_side)
    keep = keep_jpegs and small is image and data.startswith(_JPEG)
    yield data if keep else small


def frame_count(folder: pathlib.Path) -> int:
  """Returns the number of numbered images in a folder."""
  return len(_numbered(folder))


def chunks(
  videos: pathlib.Path, example: Example, options: storage.EncodingOptions
) -> list[tuple[int, list[bytes]]]:
  """Returns the number of frames and the byte strings of each chunk.

  JPEGs no larger than `options.short_side` are copied, not encoded again.
  """
  keep_jpegs = options.storage == 'jpeg'
  images = frames(
    videos, example, options.short_side, keep_jpegs, options.square_pixels
  )
  store = storage.STORAGES[options.storage]
  return list(store.pack_all(images, options.quality))


def rate(videos: pathlib.Path, example: Example) -> float | None:
  """Returns the frames per second of an example, or None if unknown."""
  path = locate(videos, example)
  if _is_video(path, example):
    return decode.frame_rate(path, *_bounds(path, example))
  if example.record is None:
    return example.frames_rate
  values = _record(path, example.record).context.get(_RATE, [])
  return float(values[0]) if values and isinstance(values[0], float) else None


def _is_video(path: pathlib.Path, example: Example) -> bool:
  """Returns whether the frames are in a video file (which may be missing)."""
  return example.record is None and not os.path.isdir(path)


def _bounds(
  path: pathlib.Path, example: Example
) -> tuple[float | None, float | None]:
  """Returns the start and end of an example in a video, in seconds."""
  start, end, frames = example.start, example.end, example.frames
  if frames is None or (start, end) != (None, None):
    return start, end
  times = timing.frame_times(path)
  first, last = frames[0] or 0, frames[1]
  if last is not None and last - len(times) >= 0.1 * (last + 1 - first):
    raise UnreadableVideo(
      path, f'has {len(times)} frames, and its segment ends at frame {last}'
    )
  if first >= len(times):
    raise UnreadableVideo(
      path, f'has {len(times)} frames, and its segment begins at frame {first}'
    )
  goes_on = last is not None and last + 1 < len(times)
  return times[first], times[last + 1] if goes_on else None


def _image_bytes(path: pathlib.Path, example: Example) -> Iterator[bytes]:
  """Yields the encoded images of a folder or a record."""
  if example.record is None:
    for file in _image_files(path, example):
      try:
        yield file.read_bytes()
      except OSError as error:
        raise UnreadableVideo(
          path, f'has {file.name}, which cannot be read: {error.strerror}'
        ) from None
    return
  record = _record(path, example.record)
  steps = record.sequences.get(_FRAMES, [])
  if not steps:
    raise UnreadableVideo(
      path, f'has a record at byte {example.record} without {_FRAMES}'
    )
  for values in steps:
    yield values[0] if values and isinstance(values[0], bytes) else b''


@containers.cached_until_changed(1)  # for its frames, then for its rate
def _record(path: pathlib.Path, offset: int) -> tfrecords.Record:
  return tfrecords.read_record(path, offset)


def _image_files(path: pathlib.Path, example: Example) -> list[pathlib.Path]:
  """Returns the files of a folder of frames, or of a segment of it."""
  names = _numbered(path)
  if not names:
    raise UnreadableVideo(path, 'is a folder without images')
  first, last = example.frames or (None, None)
  if example.frames is None and (example.start or example.end is not None):
    first, last = _numbers(path, example, min(names))
  first = min(names) if first is None else first
  last = max(names) if last is None else last
  existing = [number for number in range(first, last + 1) if number in names]
  if not existing:
    raise UnreadableVideo(path, f'has none of the frames {first} to {last}')
  if len(existing) < existing[-1] - first + 1:
    missing = next(n for n in range(first, last + 1) if n not in names)
    raise UnreadableVideo(path, f'has no frame {missing}')
  if len(existing) < _MIN_SHARE * (last - first + 1):
    raise UnreadableVideo(
      path, f'ends at frame {existing[-1]}, in the segment {first} to {last}'
    )
  return [path / names[number] for number in existing]


def _numbers(
  path: pathlib.Path, example: Example, lowest: int
) -> tuple[int | None, int | None]:
  """Returns the first and last number of the frames in a segment in seconds."""
  rate, start, end = example.frames_rate, example.start, example.end
  if rate is None:
    raise UnreadableVideo(
      path,
      'is a folder of frames, and its segment is in seconds: give the rate of '
      'its frames as --frames_rate, or columns of frame numbers',
    )
  # A frame at a bound, rounded, is of the segment that begins there.
  first = None if start is None else math.ceil(start * rate - 1e-6) + lowest
  last = None if end is None else math.ceil(end * rate - 1e-6) + lowest - 1
  return first, last


@containers.cached_until_changed(2)  # segments of one video come in sequence
def _numbered(path: pathlib.Path) -> dict[int, str]:
  """Returns the images of a folder by the last number in their names."""
  names = {}
  for file in sorted(path.iterdir()):
    number = re.search(r'(\d+)\D*$', file.stem)
    if file.suffix.lower() in IMAGES and number:
      other = names.setdefault(int(number[1]), file.name)
      if other != file.name:
        raise UnreadableVideo(
          path, f'has both {other} and {file.name} as frame {int(number[1])}'
        )
  return names

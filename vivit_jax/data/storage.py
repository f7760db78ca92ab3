"""How the frames of a video lie in records: as JPEGs, or as short videos.

A record is a *chunk* of consecutive frames. JPEGs are quick to take single
frames from; a chunk of H.264, which begins with a key frame and needs nothing
outside itself, is many times smaller and slower to decode.
"""

import dataclasses
import fractions
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import av
import numpy as np

from vivit_jax.data import decode
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.errors import UserError, nearest

Image = np.ndarray  # uint8 RGB [H, W, 3]
Frames = Iterator[tuple[int, Image]]


@dataclasses.dataclass(frozen=True)
class Storage:
  """A way to store frames.

  Attributes:
    chunk_frames: of one record, at most.
    quality: default, lowest and highest value that `pack` takes.
    pack: (frames of a chunk, quality) -> what the record holds of them.
    unpack: (what the record holds, rising places in the chunk, where: for
      errors) -> the place and frame of each. Raises `UnreadableVideo`.
  """

  chunk_frames: int
  quality: tuple[int, int, int]
  pack: Callable[[Sequence[Image], int], list[bytes]]
  unpack: Callable[[Sequence[bytes], Sequence[int], str], Frames]

  def pack_all(
    self, images: Iterable[Image], quality: int
  ) -> Iterator[tuple[int, list[bytes]]]:
    """Yields the number of frames, and what is held, of each chunk."""
    images = iter(images)
    while chunk := list(itertools.islice(images, self.chunk_frames)):
      yield len(chunk), self.pack(chunk, quality)


@dataclasses.dataclass(frozen=True)
class Form:
  """How the frames of a dataset are stored.

  Attributes:
    storage: a key of `STORAGES`.
    quality: of that storage.
    short_side: frames are shrunk to it, in pixels; None keeps them.
  """

  storage: str
  quality: int
  short_side: int | None


def form(name: str, quality: int | None, short_side: int | None) -> Form:
  """Returns a checked form; the quality None is the storage's own.

  Raises:
    UserError: no such storage, or a quality that it has not.
  """
  default, low, high = find(name).quality
  quality = default if quality is None else quality
  if not low <= quality <= high:
    raise UserError(
      f'--quality is {quality}; of {name} it is from {low} to {high}.'
    )
  return Form(name, quality, short_side)


def find(name: str) -> Storage:
  """Returns a storage by its name.

  Raises:
    UserError: no such name.
  """
  if name not in STORAGES:
    raise UserError(
      f"there is no storage '{name}'; there are {', '.join(STORAGES)}."
      f'{nearest(name, STORAGES)}'
    )
  return STORAGES[name]


def _pack_jpegs(images: Sequence[Image], quality: int) -> list[bytes]:
  return [decode.encode_jpeg(image, quality) for image in images]


def _unpack_jpegs(
  held: Sequence[bytes], places: Sequence[int], where: str
) -> Frames:
  if places[-1] >= len(held):
    raise UnreadableVideo(where, 'is damaged: frames are missing')
  for place in places:
    yield place, decode.decode_jpeg(held[place], where)


def _pack_video(images: Sequence[Image], crf: int) -> list[bytes]:
  """Encodes frames as one stream of H.264 in Annex B, its first one a key."""
  height, width = images[0].shape[:2]
  codec = av.CodecContext.create('libx264', 'w')
  codec.width, codec.height = width, height
  odd = height % 2 or width % 2  # 4:2:0 halves both sides
  codec.pix_fmt = 'yuv444p' if odd else 'yuv420p'
  codec.time_base = fractions.Fraction(1, 25)
  codec.thread_count = 1
  codec.gop_size = len(images)
  # x264's macroblock tree does not always give the same bits.
  codec.options = {
    'crf': str(crf),
    'preset': 'medium',
    'bf': '2',
    'mbtree': '0',
  }
  packets = []
  for number, image in enumerate(images):
    frame = av.VideoFrame.from_ndarray(image, format='rgb24')
    frame.pts = number
    packets += codec.encode(frame)
  packets += codec.encode(None)
  return [b''.join(bytes(packet) for packet in packets)]


def _unpack_video(
  held: Sequence[bytes], places: Sequence[int], where: str
) -> Frames:
  """Decodes a chunk as far as its last wanted frame."""
  wanted, last = set(places), places[-1]
  codec = av.CodecContext.create('h264', 'r')
  codec.thread_count = 1
  try:
    frames = (
      frame
      for packet in [*codec.parse(held[0]), *codec.parse(None), None]
      for frame in codec.decode(packet)
    )
    for number, frame in enumerate(frames):
      if frame.is_corrupt:
        raise UnreadableVideo(where, 'is damaged: a frame is corrupt')
      if number in wanted:
        yield number, frame.to_ndarray(format='rgb24')
      if number == last:
        return
  except av.FFmpegError as error:
    raise UnreadableVideo(where, f'is damaged: {error.strerror}') from None
  raise UnreadableVideo(where, 'is damaged: frames are missing')


STORAGES = {
  'jpeg': Storage(10, (95, 1, 100), _pack_jpegs, _unpack_jpegs),
  # CRF: the lower, the better; 0 loses nothing.
  'video': Storage(32, (18, 0, 51), _pack_video, _unpack_video),
}

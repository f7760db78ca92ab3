"""Encodings of frames in records: JPEGs, or chunks of H.264.

A record is a *chunk* of consecutive frames. JPEGs decode fast, one by one. A
chunk of H.264 begins with a key frame and is self-contained; it is many times
smaller, but slower to decode.
"""

import dataclasses
import fractions
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from vivit_jax.data import decode
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.errors import UserError

Image = np.ndarray  # uint8 RGB [H, W, 3]


@dataclasses.dataclass(frozen=True)
class Storage:
  """A way to store frames."""

  chunk_frames: int  # of a record; a video's last record may have fewer
  quality: tuple[int, int, int]  # default, lowest and highest
  # (frames of a chunk, quality) -> the byte strings of its record.
  pack: Callable[[Sequence[Any], int], list[bytes]]
  # (byte strings, ascending indices in the chunk, where) -> (index, frame) of
  # each. Raises UnreadableVideo, whose message begins with `where`.
  unpack: Callable[
    [Sequence[bytes], Sequence[int], str], Iterator[tuple[int, Image]]
  ]

  def pack_all(
    self, images: Iterable[Any], quality: int
  ) -> Iterator[tuple[int, list[bytes]]]:
    """Yields the number of frames and the byte strings of each chunk."""
    images = iter(images)
    while chunk := list(itertools.islice(images, self.chunk_frames)):
      yield len(chunk), self.pack(chunk, quality)


@dataclasses.dataclass(frozen=True)
class EncodingOptions:
  """How the frames of a dataset are encoded."""

  storage: str  # a key of `STORAGES`
  quality: int  # on that storage's scale
  short_side: int | None  # max, in pixels; None keeps the size
  square_pixels: bool = True  # as in `decode.decode_video`


def encoding_options(
  storage: str,
  quality: int | None,
  short_side: int | None,
  square_pixels: bool = True,
) -> EncodingOptions:
  """Returns validated options; without `quality`, the storage's default."""
  default, low, high = STORAGES[storage].quality
  quality = default if quality is None else quality
  if not low <= quality <= high:
    raise UserError(
      f'--quality is {quality}; for {storage} use {low} to {high}.'
    )
  return EncodingOptions(storage, quality, short_side, square_pixels)


def _pack_jpegs(images: Sequence[Image | bytes], quality: int) -> list[bytes]:
  """Encodes images, repeated ones once; JPEGs among them are copied."""
  different = {id(image): image for image in images}
  jpegs = {
    key: image
    if isinstance(image, bytes)
    else decode.encode_jpeg(image, quality)
    for key, image in different.items()
  }
  return [jpegs[id(image)] for image in images]


def _unpack_jpegs(
  jpegs: Sequence[bytes], indices: Sequence[int], where: str
) -> Iterator[tuple[int, Image]]:
  if indices[-1] >= len(jpegs):
    raise UnreadableVideo(where, 'is damaged: frames are missing')
  for index in indices:
    yield index, decode.decode_jpeg(jpegs[index], where)


def _pack_video(images: Sequence[Image], crf: int) -> list[bytes]:
  """Encodes frames as one H.264 stream (Annex B) with one key frame."""
  height, width = images[0].shape[:2]
  codec = av.CodecContext.create('libx264', 'w')
  codec.width, codec.height = width, height
  odd = height % 2 or width % 2  # 4:2:0 halves both sides
  codec.pix_fmt = 'yuv444p' if odd else 'yuv420p'
  codec.time_base = fractions.Fraction(1, 25)
  codec.thread_count = 1
  codec.gop_size = len(images)
  # x264's macroblock tree is not deterministic. Without its arithmetic coding
  # and deblocking, a clip takes half the time to decode, and 4% more space.
  options = {'crf': str(crf), 'preset': 'medium', 'tune': 'fastdecode'}
  options |= {'bf': '2', 'mbtree': '0'}
  codec.options = options
  packets = []
  for index, image in enumerate(images):
    frame = av.VideoFrame.from_ndarray(image, format='rgb24')
    frame.pts = index
    packets += codec.encode(frame)
  packets += codec.encode(None)
  return [b''.join(bytes(packet) for packet in packets)]


def _unpack_video(
  streams: Sequence[bytes], indices: Sequence[int], where: str
) -> Iterator[tuple[int, Image]]:
  """Decodes a chunk up to the last requested frame."""
  requested, last = set(indices), indices[-1]
  codec = av.CodecContext.create('h264', 'r')
  codec.thread_count = 1
  convert = av.video.reformatter.VideoReformatter().reformat  # reuses tables
  try:
    frames = (
      frame
      for packet in [*codec.parse(streams[0]), *codec.parse(None), None]
      for frame in codec.decode(packet)
    )
    for index, frame in enumerate(frames):
      if frame.is_corrupt:
        raise UnreadableVideo(where, 'is damaged: a frame is corrupt')
      if index in requested:
        yield index, convert(frame, format='rgb24').to_ndarray()
      if index == last:
        return
  except av.FFmpegError as error:
    raise UnreadableVideo(where, f'is damaged: {error.strerror}') from None
  raise UnreadableVideo(where, 'is damaged: frames are missing')


STORAGES = {
  'jpeg': Storage(10, (95, 1, 100), _pack_jpegs, _unpack_jpegs),
  # CRF: lower is better; 0 is lossless.
  'video': Storage(32, (18, 0, 51), _pack_video, _unpack_video),
}

"""Reader of TFRecord files of tf.SequenceExample, without TensorFlow.

A record consists of the data's length (uint64), the length's checksum, the
data, and the data's checksum. Numbers are little-endian, checksums are masked
CRC-32C (tensorflow/core/lib/io/record_writer.h). The data are a protocol buffer
(tensorflow/core/example/example.proto).

Functions raise UnreadableVideo, with the offset of a damaged record.
"""

import dataclasses
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
from google.protobuf.message import DecodeError, Message
from tensorflow_datasets.proto import tf_example_pb2

from vivit_jax.data.containers import UnreadableVideo

_HEADER = struct.Struct('<QI')  # length and its checksum
_FOOTER = struct.Struct('<I')  # checksum of the data
_FIRST_READ = 1 << 12  # bytes; usually enough for a record's context

Values = list[bytes] | list[int] | list[float]


@dataclasses.dataclass(frozen=True)
class Record:
  """A tf.SequenceExample."""

  context: dict[str, Values]  # by feature name
  sequences: dict[str, list[Values]]  # values of each step, by feature name


def contexts(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Values]]]:
  """Yields the byte offset and the context of each record of a file.

  Frames are neither read nor checked; `read_record` does that.
  """
  with _opened(path) as file:
    size, offset = os.fstat(file.fileno()).st_size, 0
    while offset < size:
      length = _length(path, file, offset)
      head = file.read(min(length, _FIRST_READ))
      try:
        needed = _context_end(head)
        if needed > length:
          raise ValueError
        head += file.read(max(0, needed - len(head)))
        context = _parse(head[:needed]).context
      except (ValueError, DecodeError):
        raise _damage(path, offset, 'has an invalid context') from None
      yield offset, context
      offset += _HEADER.size + length + _FOOTER.size
      file.seek(offset)


def read_record(path: pathlib.Path, offset: int) -> Record:
  """Reads and checks the record at a byte offset from `contexts`."""
  with _opened(path) as file:
    file.seek(offset)
    length = _length(path, file, offset)
    if length > os.fstat(file.fileno()).st_size - offset:
      raise _damage(path, offset, 'is truncated')
    data, footer = file.read(length), file.read(_FOOTER.size)
  if len(data) < length or len(footer) < _FOOTER.size:
    raise _damage(path, offset, 'is truncated')
  if _FOOTER.unpack(footer)[0] != _masked_crc(data):
    raise _damage(path, offset, 'does not match its checksum')
  try:
    return _parse(data)
  except (ValueError, DecodeError):
    raise _damage(path, offset, 'is not a tf.SequenceExample') from None


def _opened(path: pathlib.Path) -> BinaryIO:
  try:
    return open(path, 'rb')
  except FileNotFoundError:
    raise UnreadableVideo(path, 'does not exist') from None
  except OSError as error:
    raise UnreadableVideo(path, f'cannot be opened: {error.strerror}') from None


def _length(path: pathlib.Path, file: BinaryIO, offset: int) -> int:
  """Reads and checks the length of the record at the current position."""
  header = file.read(_HEADER.size)
  if offset == 0 and header[:2] == b'\x1f\x8b':
    raise UnreadableVideo(path, 'is compressed: unpack it with gzip first')
  if len(header) < _HEADER.size:
    raise _damage(path, offset, 'is truncated')
  length, checksum = _HEADER.unpack(header)
  if checksum != _masked_crc(header[:8]):
    if offset == 0:
      raise UnreadableVideo(path, 'is not a TFRecord file, or is damaged')
    raise _damage(path, offset, 'has a damaged length')
  return length


def _damage(path: pathlib.Path, offset: int, fault: str) -> UnreadableVideo:
  return UnreadableVideo(
    path, f'is damaged: the record at byte {offset} {fault}'
  )


def _masked_crc(data: bytes) -> int:
  checksum = google_crc32c.value(data)
  rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
  return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _context_end(head: bytes) -> int:
  """Returns the byte offset at which the context ends; 0 without one.

  The context is the first field. A field begins with a byte for its number (1)
  and wire type (2), then its length, in 7 bits per byte.
  """
  if head[:1] != b'\x0a':
    return 0
  length = 0
  for i, byte in enumerate(head[1:11]):
    length |= (byte & 0x7F) << 7 * i
    if not byte & 0x80:
      return 2 + i + length
  raise ValueError('the length is too long')


def _parse(data: bytes) -> Record:
  parsed = tf_example_pb2.SequenceExample.FromString(data)
  steps = parsed.feature_lists.feature_list
  return Record(
    {name: _values(x) for name, x in parsed.context.feature.items()},
    {name: [_values(x) for x in steps[name].feature] for name in steps},
  )


def _values(feature: Message) -> Values:
  """Returns the values of a tf.train.Feature."""
  kind = feature.WhichOneof('kind')
  return [] if kind is None else list(getattr(feature, kind).value)

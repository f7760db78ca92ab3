"""TFRecord files of tf.SequenceExample, read without TensorFlow.

A file is a sequence of: length (uint64), its checksum, data, its checksum;
little-endian, and the checksums masked CRC-32C (tensorflow/core/lib/io/
record_writer.h). The data are a protocol buffer (tensorflow/core/example/
example.proto).
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

_HEAD = struct.Struct('<QI')  # length, its checksum
_TAIL = struct.Struct('<I')
_FIRST_READ = 1 << 12  # bytes that usually hold a record's context

Values = list[bytes] | list[int] | list[float]


@dataclasses.dataclass(frozen=True)
class Record:
  """A tf.SequenceExample.

  Attributes:
    context: values by name.
    sequences: by name, the values of each step.
  """

  context: dict[str, Values]
  sequences: dict[str, list[Values]]


def contexts(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Values]]]:
  """Yields the place and context of each record of a file.

  The frames are not read, nor is their checksum; `read` does that.

  Raises:
    UnreadableVideo: no such file, none of this format, or a damaged length or
      context: what follows cannot be found.
  """
  with _opened(path) as file:
    size, at = os.fstat(file.fileno()).st_size, 0
    while at < size:
      length = _length(path, file, at)
      head = file.read(min(length, _FIRST_READ))
      try:
        needed = _context_end(head)
        if needed > length:
          raise ValueError
        head += file.read(max(0, needed - len(head)))
        context = _message(head[:needed]).context
      except (ValueError, DecodeError):
        raise _damage(path, at, 'has a context that cannot be read') from None
      yield at, context
      at += _HEAD.size + length + _TAIL.size
      file.seek(at)


def read(path: pathlib.Path, at: int) -> Record:
  """Returns the record at a place that `contexts` gave, checked.

  Raises:
    UnreadableVideo: it is cut off, damaged or no tf.SequenceExample.
  """
  with _opened(path) as file:
    file.seek(at)
    length = _length(path, file, at)
    if length > os.fstat(file.fileno()).st_size - at:
      raise _damage(path, at, 'is cut off')
    data, tail = file.read(length), file.read(_TAIL.size)
  if len(data) < length or len(tail) < _TAIL.size:
    raise _damage(path, at, 'is cut off')
  if _TAIL.unpack(tail)[0] != _masked(data):
    raise _damage(path, at, 'does not have its checksum')
  try:
    return _message(data)
  except (ValueError, DecodeError):
    raise _damage(path, at, 'is no tf.SequenceExample') from None


def _opened(path: pathlib.Path) -> BinaryIO:
  try:
    return open(path, 'rb')
  except FileNotFoundError:
    raise UnreadableVideo(path, 'does not exist') from None
  except OSError as error:
    raise UnreadableVideo(path, f'cannot be opened: {error.strerror}') from None


def _length(path: pathlib.Path, file: BinaryIO, at: int) -> int:
  head = file.read(_HEAD.size)
  if at == 0 and head[:2] == b'\x1f\x8b':
    raise UnreadableVideo(path, 'is compressed: unpack it with gzip first')
  if at == 0 and len(head) < _HEAD.size:
    raise UnreadableVideo(path, 'is no TFRecord file: it has a few bytes only')
  if len(head) < _HEAD.size:
    raise _damage(path, at, 'is cut off')
  length, checksum = _HEAD.unpack(head)
  if checksum != _masked(head[:8]):
    if at == 0:
      raise UnreadableVideo(path, 'is no TFRecord file, or damaged at its head')
    raise _damage(path, at, 'has a damaged length')
  return length


def _damage(path: pathlib.Path, at: int, what: str) -> UnreadableVideo:
  return UnreadableVideo(path, f'is damaged: the record at byte {at} {what}')


def _masked(data: bytes) -> int:
  checksum = google_crc32c.value(data)
  rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
  return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _context_end(head: bytes) -> int:
  """Returns where the context ends; it is written first, if there is one.

  A protocol buffer's field begins with its number and wire type, 1 and 2 here,
  and its length, 7 bits a byte.
  """
  if head[:1] != b'\x0a':
    return 0
  length = 0
  for place, byte in enumerate(head[1:11]):
    length |= (byte & 0x7F) << 7 * place
    if not byte & 0x80:
      return 2 + place + length
  raise ValueError('the length is too long')


def _message(data: bytes) -> Record:
  """Parses a tf.SequenceExample."""
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

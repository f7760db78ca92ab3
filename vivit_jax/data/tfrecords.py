"""TFRecord files of tf.SequenceExample, read without TensorFlow.

A file is a sequence of: length (uint64), its checksum, data, its checksum;
little-endian, and the checksums masked CRC-32C (tensorflow/core/lib/io/
record_writer.h). The data are a protocol buffer (tensorflow/core/example/
example.proto), of which only what occurs there is understood.
"""

import dataclasses
import functools
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from vivit_jax.data.decode import UnreadableVideo

_HEAD = struct.Struct('<QI')  # length, its checksum
_TAIL = struct.Struct('<I')
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed
_LANES = 4096  # parts of the data whose checksums are computed side by side
_MASK = 0xFFFFFFFF
_FIRST_READ = 1 << 12  # bytes that usually hold a record's context
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

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
      except (ValueError, IndexError, struct.error):
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
  if _TAIL.unpack(tail)[0] != _masked(crc32c(data)):
    raise _damage(path, at, 'does not have its checksum')
  try:
    return _message(data)
  except (ValueError, IndexError, struct.error):
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
  if len(head) < _HEAD.size:
    raise _damage(path, at, 'is cut off')
  length, checksum = _HEAD.unpack(head)
  if checksum != _masked(crc32c(head[:8])):
    if at == 0:
      raise UnreadableVideo(path, 'is no TFRecord file, or damaged at its head')
    raise _damage(path, at, 'has a damaged length')
  return length


def _damage(path: pathlib.Path, at: int, what: str) -> UnreadableVideo:
  return UnreadableVideo(path, f'is damaged: the record at byte {at} {what}')


def _masked(checksum: int) -> int:
  rotated = (checksum >> 15 | checksum << 17) & _MASK
  return (rotated + 0xA282EAD8) & _MASK


@functools.cache
def _table() -> np.ndarray:
  """Returns the checksum's step of each byte, uint32 [256]."""
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = (table >> 1) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), 0)
    table = table.astype(np.uint32)
  return table


def crc32c(data: bytes) -> int:
  """Returns the CRC-32C of bytes.

  Long data are cut into `_LANES` parts, whose checksums NumPy computes side by
  side; as a CRC is linear, they are then joined by what a part's length of
  zeros does to a checksum.
  """
  table = _table()
  part = len(data) // _LANES
  checksum, done = _MASK, 0
  if part >= 8:
    done = part * _LANES
    lanes = np.frombuffer(data, np.uint8, done).reshape(_LANES, part)
    states = np.zeros(_LANES, np.uint32)
    for column in np.ascontiguousarray(lanes.T):
      states = table[(states ^ column) & 0xFF] ^ (states >> 8)
    zeros = _after_zeros(part)
    for state in states.tolist():
      checksum = (
        zeros[0][checksum & 0xFF]
        ^ zeros[1][checksum >> 8 & 0xFF]
        ^ zeros[2][checksum >> 16 & 0xFF]
        ^ zeros[3][checksum >> 24]
        ^ state
      )
  steps = table.tolist() if len(data) - done > 64 else table
  for byte in data[done:]:
    checksum = int(steps[(checksum ^ byte) & 0xFF]) ^ (checksum >> 8)
  return checksum ^ _MASK


@functools.lru_cache(64)
def _after_zeros(count: int) -> list[list[int]]:
  """Returns, of each byte of a checksum, what `count` zeros make of it."""
  values = np.arange(256, dtype=np.uint32)
  table = _table()
  states = np.stack([values << np.uint32(8 * place) for place in range(4)])
  for _ in range(count):
    states = table[states & 0xFF] ^ (states >> 8)
  return states.tolist()


def _varint(data: memoryview | bytes, at: int) -> tuple[int, int]:
  """Returns a number and where it ends."""
  value = shift = 0
  while True:
    byte = data[at]
    at += 1
    value |= (byte & 0x7F) << shift
    if not byte & 0x80:
      return value, at
    shift += 7
    if shift > 63:
      raise ValueError('a number is too long')


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
  """Yields number and value of each field of a message."""
  at = 0
  while at < len(data):
    key, at = _varint(data, at)
    kind = key & 7
    if kind == _VARINT:
      value, at = _varint(data, at)
    else:
      if kind == _BYTES:
        length, at = _varint(data, at)
      elif kind in (_FIXED32, _FIXED64):
        length = 4 if kind == _FIXED32 else 8
      else:
        raise ValueError(f'wire type {kind}')
      value, at = data[at : at + length], at + length
      if at > len(data):
        raise ValueError('a field is cut off')
    yield key >> 3, value


def _context_end(head: bytes) -> int:
  """Returns where the context ends; it is written first, if there is one."""
  if not head or head[0] != (1 << 3 | _BYTES):
    return 0
  length, at = _varint(head, 1)
  return at + length


def _message(data: bytes) -> Record:
  """Parses a tf.SequenceExample."""
  context, sequences = {}, {}
  for number, value in _fields(memoryview(data)):
    if number == 1:  # context
      for name, feature in _entries(value):
        context[name] = _feature(feature)
    elif number == 2:  # feature_lists
      for name, steps in _entries(value):
        sequences[name] = [
          _feature(step) for which, step in _fields(steps) if which == 1
        ]
  return Record(context, sequences)


def _entries(data: memoryview) -> Iterator[tuple[str, memoryview]]:
  """Yields the entries of a message that is one map of names to messages."""
  for number, entry in _fields(data):
    if number == 1:
      parts = dict(_fields(entry))
      name = bytes(parts.get(1, b'')).decode('utf-8')
      yield name, parts.get(2, memoryview(b''))


def _feature(data: memoryview) -> Values:
  """Parses a tf.train.Feature: bytes, floats or integers."""
  for kind, items in _fields(data):
    values = []
    for number, value in _fields(items):
      if number != 1:
        continue
      if kind == 1:
        values.append(bytes(value))
      elif kind == 2:  # packed, or one by one: four bytes each
        values += struct.unpack(f'<{len(value) // 4}f', value)
      elif isinstance(value, int):
        values.append(_signed(value))
      else:
        at = 0
        while at < len(value):
          one, at = _varint(value, at)
          values.append(_signed(one))
    return values
  return []


def _signed(value: int) -> int:
  return value - (1 << 64) if value >= 1 << 63 else value

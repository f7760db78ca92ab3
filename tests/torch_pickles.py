"""Writes files as torch.save does, opcode by opcode, without torch."""

import math
import struct
import zipfile

import numpy as np

KINDS = {'f4': 'Float', 'f2': 'Half', 'f8': 'Double', 'i8': 'Long'}
MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def text(value: str) -> bytes:
  return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def number(value: int) -> bytes:
  body = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
  return b'\x8a' + bytes([len(body)]) + body


def tuple_of(values) -> bytes:
  return b'(' + b''.join(map(number, values)) + b't'


def dict_of(items: dict) -> bytes:
  """Keys are text, or opcodes; values opcodes."""
  pairs = (
    (text(key) if isinstance(key, str) else key) + value
    for key, value in items.items()
  )
  return b'}(' + b''.join(pairs) + b'u'


def global_of(name: str) -> bytes:
  return b'c' + name.replace(' ', '\n').encode() + b'\n'


def call(name: str, *arguments: bytes) -> bytes:
  return global_of(name) + b'(' + b''.join(arguments) + b'tR'


def tensor(key, count, size, stride=None, offset=0, kind='Float', more=b''):
  """A tensor; `more`: what the older container's storages have besides."""
  size = tuple(size)
  if stride is None:
    stride = [math.prod(size[n + 1 :]) for n in range(len(size))]
  storage = b'(' + text('storage') + global_of(f'torch {kind}Storage')
  storage += text(key) + text('cpu') + number(count) + more + b'tQ'
  return call(
    'torch._utils _rebuild_tensor_v2',
    storage,
    number(offset),
    tuple_of(size),
    tuple_of(stride),
    b'\x89',
    call('collections OrderedDict'),
  )


def write(
  path, top: bytes, storages=(), compress=zipfile.ZIP_STORED, **members
):
  """Writes a zip container; `storages` are bytes, with the keys 0, 1, ..."""
  with zipfile.ZipFile(path, 'w', compress) as archive:
    archive.writestr('archive/data.pkl', b'\x80\x02' + top + b'.')
    archive.writestr('archive/version', '3\n')
    for name, content in members.items():
      archive.writestr(f'archive/{name}', content)
    for key, content in enumerate(storages):
      archive.writestr(f'archive/data/{key}', content)


def write_older(path, top: bytes, storages: dict, little=b'\x88'):
  """Writes the older container; storages: key -> (count, bytes)."""
  keys = b'](' + b''.join(map(text, storages)) + b'e'
  parts = [number(1001), dict_of({'little_endian': little}), top, keys]
  pickles = b''.join(b'\x80\x02' + part + b'.' for part in parts)
  data = (struct.pack('<q', n) + content for n, content in storages.values())
  path.write_bytes(MAGIC + pickles + b''.join(data))


def save(path, arrays, within=''):
  """Writes a dict of arrays, bare or as the value of a key."""
  tensors, storages = {}, []
  for key, (name, array) in enumerate(arrays.items()):
    kind = KINDS[array.dtype.str[1:]]
    tensors[name] = tensor(str(key), array.size, array.shape, kind=kind)
    storages.append(np.ascontiguousarray(array).tobytes())
  weights = dict_of(tensors)
  top = dict_of({within: weights}) if within else weights
  write(path, top, storages)

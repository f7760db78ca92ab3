"""Reading of files that anybody may have written, in bounded memory.

Each function returns flat names -> arrays, and raises a UserError for a file
that is cut off, lies about its sizes, or would execute code.
"""

import ast
import json
import math
import os
import pathlib
import struct
import zipfile
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from flax import serialization
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vivit_jax.errors import UserError

_MOST_JSON = 100 << 20  # bytes of a header
_MOST_SWELLING = 20  # times that a compressed archive may grow,
_ALLOWANCE = 64 << 20  # and so many bytes
_NPY_HEADER = 1 << 16  # bytes


def read_npz(path: pathlib.Path, needed: str) -> dict[str, np.ndarray]:
  """Reads an npz of plain arrays; a pickled one is refused.

  Args:
    path: of the file.
    needed: the end of a name that must be there for the file to be read.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
      names = [member.filename.removesuffix('.npy') for member in members]
      if any(name.endswith('/data.pkl') for name in names):
        raise UserError(
          f'{path} is pickled by torch, and could run code when it is read: '
          'ask its owner for safetensors.'
        )
      if not any(name.endswith(needed) for name in names):
        raise UserError(
          f'{path} is an npz, but no ViT: it has no {needed}; it has '
          f'{", ".join(names[:5])}.'
        )
      most = _MOST_SWELLING * path.stat().st_size + _ALLOWANCE
      if sum(member.file_size for member in members) > most:
        raise damaged(path, 'it swells too much when unpacked')
      for member in members:
        _check_member(path, archive, member)
    with np.load(path, allow_pickle=False) as arrays:
      return {name: _readable(arrays[name]) for name in arrays.files}
  except UserError:
    raise
  except (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    ValueError,
    IndexError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
    struct.error,
  ) as error:
    raise damaged(path, error) from None


def _readable(array: np.ndarray) -> np.ndarray:
  """Returns bfloat16, which npz forgets, as what it is."""
  return array.view(ml_dtypes.bfloat16) if array.dtype == 'V2' else array


def _check_member(
  path: pathlib.Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> None:
  """Compares what an array's header says with what the archive holds."""
  with archive.open(member) as stream:
    head = stream.read(_NPY_HEADER)
  if not head.startswith(b'\x93NUMPY'):
    raise damaged(path, f'{member.filename} is no array')
  wide = head[6] > 1
  start = 12 if wide else 10
  (length,) = struct.unpack('<I' if wide else '<H', head[8:start])
  try:
    header = ast.literal_eval(head[start : start + length].decode('latin1'))
    shape, kind = tuple(header['shape']), np.dtype(header['descr'])
  except (ValueError, SyntaxError, KeyError, TypeError, RecursionError):
    raise damaged(path, f'{member.filename} has no readable header') from None
  if kind.hasobject:
    raise UserError(
      f'{path} holds pickled Python objects ({member.filename}), which could '
      'run code when they are read: ask its owner for plain arrays.'
    )
  sides = all(type(side) is int and side >= 0 for side in shape)
  size = math.prod(shape, start=kind.itemsize) if sides else -1
  if size != member.file_size - start - length:
    raise damaged(path, f'{member.filename} does not have the size it states')


def read_msgpack(path: pathlib.Path) -> dict[str, Any]:
  """Reads flax's msgpack as nested dicts of arrays."""
  try:
    tree = serialization.msgpack_restore(path.read_bytes())
  except (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OSError,
    MemoryError,
    RecursionError,
    msgpack.exceptions.UnpackException,
  ) as error:
    raise damaged(path, error) from None
  if not isinstance(tree, dict):
    raise damaged(path, 'it holds no parameters')
  return tree


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads a safetensors file; its library checks sizes before it reads."""
  try:
    return load_file(path)
  except (SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
    raise damaged(path, error) from None


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object."""
  try:
    if path.stat().st_size > _MOST_JSON:
      raise damaged(path, 'it is too large')
    value = json.loads(path.read_text('utf-8'))
  except (OSError, ValueError, RecursionError) as error:
    raise damaged(path, error) from None
  if not isinstance(value, dict):
    raise damaged(path, 'it is no JSON object')
  return value


def damaged(path: str | os.PathLike, why: object) -> UserError:
  """Returns the error for a file that is not what it seems to be."""
  reason = (str(why).splitlines() or [repr(why)])[0][:200]
  return UserError(
    f'{path} is damaged, or no checkpoint ({reason}): get it again.'
  )

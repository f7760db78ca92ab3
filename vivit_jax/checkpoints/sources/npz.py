"""Reads npz files of plain arrays, with a limit on memory."""

import ast
import math
import pathlib
import struct
import zipfile

import ml_dtypes
import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

# Max bytes of arrays: this factor times the file's bytes, plus the allowance.
_MAX_COMPRESSION = 20
_ALLOWANCE = 64 << 20
_NPY_HEADER = 1 << 16  # bytes


def open_file(path: pathlib.Path) -> File:
  """Opens an npz file.

  Raises:
    UserError: a file that is truncated or pickled. `File.load` raises it for
      headers with wrong sizes.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.namelist()
  except Exception as error:  # zipfile raises many types for broken files
    raise damaged(path, error) from None
  if any(name.endswith('/data.pkl') for name in members):
    raise UserError(
      f'{path} is pickled by torch, and could run code when it is read: ask '
      'its owner for safetensors.'
    )
  names = [name.removesuffix('.npy') for name in members]
  return File(path, 'npz', names, lambda: _read_npz(path))


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
      limit = _MAX_COMPRESSION * path.stat().st_size + _ALLOWANCE
      if sum(member.file_size for member in members) > limit:
        raise damaged(path, 'its arrays are too large for the file')
      for member in members:
        _check_member(path, archive, member)
    with np.load(path, allow_pickle=False) as arrays:
      return {name: _readable(arrays[name]) for name in arrays.files}
  except UserError:
    raise
  except Exception as error:
    raise damaged(path, error) from None


def _readable(array: np.ndarray) -> np.ndarray:
  """Restores bfloat16, which npz stores as two raw bytes."""
  return array.view(ml_dtypes.bfloat16) if array.dtype == 'V2' else array


def _check_member(
  path: pathlib.Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> None:
  """Raises a UserError if an array's header does not fit its contents."""
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
      f'{path} holds pickled objects ({member.filename}), which could run code '
      'when they are read: ask its owner for plain arrays.'
    )
  valid = all(type(side) is int and side >= 0 for side in shape)
  size = math.prod(shape, start=kind.itemsize) if valid else -1
  if size != member.file_size - start - length:
    raise damaged(path, f'{member.filename} differs in size from its header')

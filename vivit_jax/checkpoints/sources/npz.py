"""npz of plain arrays, read in bounded memory; it knows no model."""

import ast
import math
import pathlib
import struct
import zipfile

import ml_dtypes
import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

_MOST_SWELLING = 20  # times that a compressed archive may grow,
_ALLOWANCE = 64 << 20  # and so many bytes
_NPY_HEADER = 1 << 16  # bytes
_ZIP_ERRORS = (
  zipfile.BadZipFile,
  EOFError,
  OSError,
  ValueError,
  IndexError,
  OverflowError,
  RuntimeError,
  NotImplementedError,
  struct.error,
)


def open_file(path: pathlib.Path) -> File:
  """Opens an npz; pickled ones are refused.

  Raises:
    UserError: a file that is cut off, or would execute code. Its `load`, one
      that lies about its sizes.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      members = [member.filename for member in archive.infolist()]
  except _ZIP_ERRORS as error:
    raise damaged(path, error) from None
  if any(name.endswith('/data.pkl') for name in members):
    raise UserError(
      f'{path} is pickled by torch, and could run code when it is read: ask '
      'its owner for safetensors.'
    )
  found = [name.removesuffix('.npy') for name in members]
  return File(path, 'npz', found, lambda: _read_npz(path))


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
      most = _MOST_SWELLING * path.stat().st_size + _ALLOWANCE
      if sum(member.file_size for member in members) > most:
        raise damaged(path, 'it swells too much when unpacked')
      for member in members:
        _check_member(path, archive, member)
    with np.load(path, allow_pickle=False) as arrays:
      return {name: _readable(arrays[name]) for name in arrays.files}
  except UserError:
    raise
  except _ZIP_ERRORS as error:
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

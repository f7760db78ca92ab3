"""Reads npz files of plain arrays, with a limit on memory."""

import math
import pathlib
import zipfile

import ml_dtypes
import numpy as np
from numpy.lib import format as npy

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

# Max bytes of arrays: this factor times the file's bytes, plus the allowance.
_MAX_COMPRESSION = 20
_ALLOWANCE = 64 << 20


def open_file(path: pathlib.Path) -> File:
  """Opens an npz file.

  Raises:
    UserError: by `File.load`, for arrays of objects, or of another size than
      their headers state.
  """
  with zipfile.ZipFile(path) as archive:
    members = archive.namelist()
  names = [name.removesuffix('.npy') for name in members]
  return File(path, 'npz', names, lambda: _read_npz(path))


def limit(path: pathlib.Path) -> int:
  """Returns the bytes that the arrays of a file may have in all."""
  return _MAX_COMPRESSION * path.stat().st_size + _ALLOWANCE


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    if sum(member.file_size for member in members) > limit(path):
      raise damaged(path, 'its arrays are too large for the file')
    for member in members:
      _check_member(path, archive, member)
  with np.load(path, allow_pickle=False) as arrays:
    return {name: _readable(arrays[name]) for name in arrays.files}


def _readable(array: np.ndarray) -> np.ndarray:
  """Restores bfloat16, which npz stores as two raw bytes."""
  return array.view(ml_dtypes.bfloat16) if array.dtype == 'V2' else array


def _check_member(
  path: pathlib.Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> None:
  """Raises a UserError if an array's header does not fit its contents."""
  with archive.open(member) as stream:
    first = npy.read_magic(stream) == (1, 0)
    header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
    shape, _, dtype = header(stream)
    start = stream.tell()
  if dtype.hasobject:
    raise UserError(
      f'{path} holds pickled objects ({member.filename}), which could run code '
      'when they are read: ask its owner for plain arrays.'
    )
  size = math.prod(shape, start=dtype.itemsize)
  if min(shape, default=0) < 0 or size != member.file_size - start:
    raise damaged(path, f'{member.filename} differs in size from its header')

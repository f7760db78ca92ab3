"""Files that anybody may have written, read in bounded memory.

One function a container, none of which knows a model. Each raises a UserError
for a file that is cut off, lies about its sizes, or would execute code.
"""

import ast
import json
import math
import pathlib
import struct
import zipfile
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from flax import serialization
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from vivit_jax.checkpoints import names
from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

_MOST_JSON = 100 << 20  # bytes of a header
_MOST_SWELLING = 20  # times that a compressed archive may grow,
_ALLOWANCE = 64 << 20  # and so many bytes
_NPY_HEADER = 1 << 16  # bytes
_BESIDE = ('config.json', 'preprocessor_config.json')


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


def npz(path: pathlib.Path) -> File:
  """Opens an npz of plain arrays; pickled ones are refused."""
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


def msgpack_of_flax(path: pathlib.Path) -> File:
  """Opens flax's msgpack of a training state.

  The parameters are in `optimizer/target`, one level further down in `params`,
  or in the newer `params`; the optimiser's own state is left.
  """
  tree = _read_msgpack(path)
  optimizer = tree.get('optimizer')
  if isinstance(optimizer, dict) and isinstance(optimizer.get('target'), dict):
    layout, params = 'optimizer/target', optimizer['target']
  else:
    layout, params = 'params', tree.get('params')
  if isinstance(params, dict) and isinstance(params.get('params'), dict):
    layout, params = f'{layout}/params', params['params']
  if not isinstance(params, dict):
    raise damaged(path, 'it has neither optimizer/target nor params')
  arrays = dict(names.flatten(params))
  return File(path, 'msgpack', list(arrays), lambda: dict(arrays), layout)


def _read_msgpack(path: pathlib.Path) -> dict[str, Any]:
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


_SAFETENSORS_ERRORS = (
  SafetensorError,
  ValueError,
  TypeError,
  KeyError,
  OSError,
)


def safetensors(path: pathlib.Path) -> File:
  """Opens safetensors, with Hugging Face's configs if they are beside it.

  The library checks sizes before it reads.
  """
  try:
    with safe_open(path, 'np') as tensors:
      found = list(tensors.keys())
  except _SAFETENSORS_ERRORS as error:
    raise damaged(path, error) from None

  def load():
    try:
      return load_file(path)
    except _SAFETENSORS_ERRORS as error:
      raise damaged(path, error) from None

  beside = [path.with_name(name) for name in _BESIDE]
  configs = [read_json(other) if other.exists() else {} for other in beside]
  return File(path, 'safetensors', found, load, '', *configs)


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

"""Reads files of torch.save without torch: the zip container and the older one.

Nothing in a file is executed; see `unpickle`. Only the taken weights are read,
so an optimiser's state costs no memory.
"""

import math
import mmap
import pathlib
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.checkpoints.sources import hugging_face, npz, unpickle
from vivit_jax.checkpoints.sources.unpickle import Opaque, Storage, Tensor
from vivit_jax.errors import UserError, damaged
from vivit_jax.models.weights import File

# Keys of the state dict in training checkpoints, of which the first is taken.
LAYOUTS = (
  *('model_state', 'state_dict', 'model', 'module'),
  *('target_encoder', 'ema_encoder', 'encoder', 'classifiers'),  # V-JEPA 2
)
TOP = 'the top level'
# The first pickle of the older container: protocol, frame, a number, its end.
_OLDER = rb'\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_DO = 'save the state_dict() of the model, plain tensors, with torch.save.'

Tensors = Mapping[str, Tensor]
Places = dict[str, tuple[int, int]]  # key of a storage -> (start, bytes)


def is_zip(path: pathlib.Path) -> bool:
  """Returns whether a zip is a file of torch; raises BadZipFile if broken."""
  with zipfile.ZipFile(path) as archive:
    return any(name.endswith('/data.pkl') for name in archive.namelist())


def open_file(path: pathlib.Path) -> File:
  """Opens a file of torch.save, with the Hugging Face configs beside it.

  The weights are the first of `LAYOUTS` that is a dict of tensors, else the top
  level. Other objects beside them are not read.

  Raises:
    UserError: another pickle, TorchScript, a whole module, a weight that is no
      plain tensor, arrays that are too large for the file, or a damaged file.
  """
  # Mapped: a forged length reads no more than the file has.
  with (
    open(path, 'rb') as opened,
    mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file,
  ):
    old = re.match(_OLDER, file[:32], re.DOTALL)
    if not old and file[:2] != b'PK':
      raise UserError(
        f'{path} is pickled, but not by torch.save, and could run code when it '
        'is read: ask its owner for safetensors or plain arrays.'
      )
    try:
      top, weights, places = (_open_older if old else _open_zip)(path, file)
    except unpickle.Forbidden as call:
      raise UserError(
        f'{path} calls {_text(str(call))} when torch loads it, and could run '
        'code; nothing was run here. Ask its owner for safetensors.'
      ) from None
  layout, tensors = weights
  spans = _spans(path, tensors, places)
  extras = {
    key: text
    for key, text in (top.items() if isinstance(top, dict) else ())
    if type(key) is str and type(text) is str
  }
  return File(
    path,
    'torch',
    list(tensors),
    lambda: _load(path, tensors, spans),
    layout,
    *hugging_face.configs(path),
    extras=extras,
  )


def _open_zip(
  path: pathlib.Path, file: mmap.mmap
) -> tuple[Any, tuple[str, Tensors], Places]:
  """Returns the top level, layout and tensors, and places of storages."""
  with zipfile.ZipFile(path) as archive:
    members = {member.filename: member for member in archive.infolist()}
  roots = [x[:-8] for x in members if re.fullmatch('[^/]+/data.pkl', x)]
  if len(roots) != 1:
    raise damaged(path, f'it has {len(roots)} members data.pkl')
  root = roots[0]
  program = f'{root}constants.pkl', f'{root}code/'
  if any(name.startswith(program) for name in members):
    raise UserError(f'{path} is a TorchScript program, which is not run: {_DO}')

  def place(name: str) -> tuple[int, int]:
    if f'{root}{name}' not in members:
      raise damaged(path, f'{name[:80]} is missing')
    return _place(path, file, members[f'{root}{name}'])

  if f'{root}byteorder' in members:
    file.seek(place('byteorder')[0])
    _check_order(path, file.read(6) == b'little')
  start, size = place('data.pkl')
  file.seek(start)
  top = unpickle.load(file)
  if file.tell() > start + size:
    raise damaged(path, 'data.pkl is cut short')
  layout, tensors = _weights(path, top)
  keys = {tensor.storage.key for tensor in tensors.values()}
  places = {key: place(f'data/{key}') for key in keys}
  return top, (layout, tensors), places


def _place(
  path: pathlib.Path, file: mmap.mmap, member: zipfile.ZipInfo
) -> tuple[int, int]:
  """Returns the start of a member's data in the file, and their bytes.

  The checksum is not compared: torch can be set to write none.
  """
  if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
    raise damaged(path, f'{member.filename} is compressed or encrypted')
  file.seek(member.header_offset)
  header = file.read(30)
  if header[:4] != b'PK\3\4':
    raise damaged(path, f'{member.filename} is not where its index states')
  start = member.header_offset + 30 + sum(struct.unpack('<HH', header[26:]))
  return _within(path, start, member.file_size)


def _open_older(
  path: pathlib.Path, file: mmap.mmap
) -> tuple[Any, tuple[str, Tensors], Places]:
  """As `_open_zip`: pickles in a row, and the storages behind them."""
  storages: dict[str, Storage] = {}
  unpickle.load(file)  # the number that tells the container
  version, system = unpickle.load(file), unpickle.load(file)
  if version != 1001 or not isinstance(system, dict):
    raise damaged(path, 'it has an unknown version')
  _check_order(path, system.get('little_endian') is True)
  top = unpickle.load(file, storages)
  weights = _weights(path, top)
  keys, places = unpickle.load(file), {}
  start = file.tell()
  for key in keys:
    if type(key) is not str or key not in storages:
      raise damaged(path, 'it has data of an unknown type')
    file.seek(start)
    (count,) = struct.unpack('<q', file.read(8))
    places[key] = _within(path, start + 8, count * storages[key].dtype.itemsize)
    start = sum(places[key])
  return top, weights, places


def _within(path: pathlib.Path, start: int, size: int) -> tuple[int, int]:
  if size < 0 or start + size > path.stat().st_size:
    raise damaged(path, 'its data are cut short')
  return start, size


def _check_order(path: pathlib.Path, little: bool) -> None:
  if not little:
    raise UserError(
      f'{path} was written by a big-endian machine, which is not supported: '
      'load and save it with torch on another one.'
    )


def _weights(path: pathlib.Path, top: Any) -> tuple[str, dict[str, Tensor]]:
  """Returns where the weights are, what is not read, and the weights."""
  candidates = {TOP: top}
  if isinstance(top, dict):
    found = {key: top[key] for key in LAYOUTS if key in top}
    for key, value in found.items():
      if isinstance(value, list) and value:  # of probes trained together
        found[key] = value[0]
    candidates = found | candidates
  layout = next((key for key, x in candidates.items() if _has_tensors(x)), '')
  if not layout:
    values = [top, *(top.values() if isinstance(top, dict) else ())]
    names = [_text(x.name) for x in values if isinstance(x, Opaque)]
    what = f' but a pickled {names[0]}, which is not run' if names else ''
    raise UserError(
      f'{path} has no dict of tensors at {" or ".join(candidates)}{what}: {_DO}'
    )
  tensors = {}
  for name, value in candidates[layout].items():
    if type(name) is str and isinstance(value, Tensor):
      tensors[name] = value
    elif not isinstance(value, str | int | float | None):
      kind = value.name if isinstance(value, Opaque) else type(value).__name__
      raise UserError(
        f'{path} has {_text(name)} among its weights ({layout}), which is no '
        f'tensor but {_text(kind)}; nothing in a file is run: {_DO}'
      )
  others = [key for key, x in candidates.items() if _has_tensors(x)]
  if unread := [key for key in others if key not in (layout, TOP)]:
    layout = f'{layout}; not read: {", ".join(unread)}'
  return layout, tensors


def _text(name: Any) -> str:
  """Returns a name of the file in one short line."""
  return repr(name[:80]) if type(name) is str else 'a key that is no text'


def _has_tensors(value: Any) -> bool:
  return isinstance(value, dict) and any(
    isinstance(x, Tensor) for x in value.values()
  )


def _spans(
  path: pathlib.Path, tensors: Tensors, places: Places
) -> dict[str, tuple[int, int]]:
  """Returns each tensor's checked (start, elements) in the file."""
  total, spans = 0, {}
  for name, tensor in tensors.items():
    storage, item = tensor.storage, tensor.storage.dtype.itemsize
    start, size = places.get(storage.key, (0, -1))
    if storage.count * item != size:
      raise damaged(path, f'{name[:80]} has another size than its data')
    if tensor.span and tensor.offset + tensor.span > storage.count:
      raise damaged(path, f'{name[:80]} reaches beyond its data')
    spans[name] = start + tensor.offset * item, tensor.span
    total += item * max(math.prod(tensor.size), tensor.span)
    if total > npz.limit(path):
      raise damaged(path, 'its arrays are too large for the file')
  return spans


def _load(
  path: pathlib.Path,
  tensors: Tensors,
  spans: Mapping[str, tuple[int, int]],
) -> dict[str, np.ndarray]:
  """Reads the tensors; each becomes an array in C order."""
  arrays = {}
  with open(path, 'rb') as file:
    for name, tensor in tensors.items():
      dtype = tensor.storage.dtype
      start, count = spans[name]
      if not count:
        arrays[name] = np.empty(tensor.size, dtype)
        continue
      file.seek(start)
      flat = np.fromfile(file, np.uint8, count * dtype.itemsize).view(dtype)
      if len(flat) < count:
        raise damaged(path, 'its data are cut short')
      steps = [
        step * dtype.itemsize if size > 1 else 0
        for size, step in zip(tensor.size, tensor.stride)
      ]
      view = np.lib.stride_tricks.as_strided(flat, tensor.size, steps)
      arrays[name] = np.asarray(view, order='C')
  return arrays

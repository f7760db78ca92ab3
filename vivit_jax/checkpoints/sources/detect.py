"""Detects a checkpoint's format by its content: container, then family.

A file may be hostile. Every error while reading it becomes a UserError.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from vivit_jax import files
from vivit_jax.checkpoints import workdir
from vivit_jax.checkpoints.sources import (
  flax_msgpack,
  hub,
  hugging_face,
  native,
  npz,
  safetensors_files,
  torch_files,
)
from vivit_jax.errors import UserError, damaged
from vivit_jax.models import classifier
from vivit_jax.models import family as families
from vivit_jax.models.weights import TORCH, File, Weights

_FORMATS = 'docs/pretrained.md lists the formats'
# Openers of the shards of Hugging Face's indices.
_SHARDS = dict(
  zip(
    hugging_face.INDICES, (safetensors_files.open_file, torch_files.open_file)
  )
)


def read(path: str | os.PathLike, *, ema: bool = True) -> Weights:
  """Reads the parameters of a checkpoint in any known format.

  Args:
    path: of the checkpoint, or its name on the Hugging Face Hub.
    ema: whether to read averaged weights, if a native checkpoint has them.

  Raises:
    UserError: no such file, an unknown format, or a damaged file.
  """
  path = hub.local(path)
  try:
    if path.is_dir():
      if native.is_native(path):
        return native.read(path, ema=ema)
      path = _only_file(path)
    weights = _read_file(path)
    for name, array in weights.arrays.items():
      if not jnp.issubdtype(array.dtype, jnp.floating):
        raise damaged(path, f'{name} is {array.dtype} of shape {array.shape}')
      if not np.isfinite(array).all():
        raise damaged(path, f'{name} has numbers that are not finite')
    if reason := classifier.head_damage(weights.arrays):
      raise damaged(path, reason)
  except UserError:
    raise
  except OSError as error:
    raise _unreadable(path, error) from None
  except KeyError as error:
    raise damaged(path, f'{error} is missing') from None
  except Exception as error:
    raise damaged(path, error) from None
  return weights


def within(path: str | os.PathLike) -> list[str | os.PathLike]:
  """Returns the checkpoints in a folder, in order.

  Files `checkpoint_<step>` are sorted by step, others by name. Returns the path
  alone for a name on the Hub, a file, a workdir or other folder that is one
  checkpoint, and a folder with fewer than two.

  Raises:
    UserError: a path that cannot be read.
  """
  if files.on_hub(path):
    return [path]
  path = pathlib.Path(path)
  try:
    if not path.is_dir() or _is_one(path):
      return [path]
    steps = _by_step(path)
    checkpoints = [steps[step] for step in sorted(steps)]
    if not checkpoints:
      folders = [x for x in sorted(path.iterdir()) if x.is_dir()]
      checkpoints = [*_known_files(path), *filter(_is_one, folders)]
  except OSError as error:
    raise _unreadable(path, error) from None
  return checkpoints if len(checkpoints) > 1 else [path]


def place(path: str | os.PathLike) -> pathlib.Path:
  """Returns the resolved path of a checkpoint.

  A folder with one checkpoint file resolves to that file. A path that cannot be
  read is returned unchanged.
  """
  try:
    path = hub.local(path)
    if path.is_dir() and not native.is_native(path):
      files = _files_of(path)
      path = files[0] if len(files) == 1 else path
    return path.resolve()
  except (OSError, UserError):
    return pathlib.Path(path)


def _is_one(folder: pathlib.Path) -> bool:
  """Returns whether a folder is a checkpoint or has one `checkpoint_<step>`."""
  whole = native.is_native(folder) or _hugging_face(folder) is not None
  return whole or len(_by_step(folder)) == 1


def _hugging_face(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the file of a Hugging Face folder's weights, or None.

  It has optimisers and more files of known containers beside it.
  """
  names = {path.name for path in folder.iterdir()}
  weights = hugging_face.weights_among(names)
  return None if weights is None else folder / weights


def _by_step(folder: pathlib.Path) -> dict[int, pathlib.Path]:
  """Returns a folder's files 'checkpoint' and 'checkpoint_<step>' by step."""
  return {
    int(match[1] or 0): path
    for path in sorted(folder.iterdir())
    if path.is_file()
    and (match := re.fullmatch(r'checkpoint(?:_(\d+))?', path.name))
  }


def _known_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns a folder's files of known containers, sorted by name."""
  files = [path for path in sorted(folder.iterdir()) if path.is_file()]
  return [path for path in files if _opener(path) is not None]


def _files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the file of Hugging Face or of the last step, else all known."""
  if (whole := _hugging_face(folder)) is not None:
    return [whole]
  steps = _by_step(folder)
  return [steps[max(steps)]] if steps else _known_files(folder)


def _only_file(folder: pathlib.Path) -> pathlib.Path:
  files = _files_of(folder)
  if len(files) == 1:
    return files[0]
  names = ', '.join(path.name for path in files[:5])
  if (folder / workdir.GRID).is_dir():
    raise UserError(f'{folder} {workdir.UNFINISHED}')
  several = f'name one of its files {names}' if names else _FORMATS
  raise UserError(f'{folder} is not a known checkpoint format: {several}.')


def _imports() -> list[families.Import]:
  """Returns the imports of all families, without duplicates."""
  return list(
    dict.fromkeys(x for f in families.every().values() for x in f.imports)
  )


def _unreadable(path: pathlib.Path, error: OSError) -> UserError:
  reason = error.strerror or error
  return UserError(f'cannot read the checkpoint {path}: {reason}.')


def opened(path: pathlib.Path) -> File:
  """Opens a file of any known container.

  Raises:
    UserError: an unknown container, or a damaged file; the latter may also
      raise other errors.
  """
  opener = _opener(path)
  if opener is None:
    raise UserError(f'{path} is not a known checkpoint format: {_FORMATS}.')
  return _without_prefix(opener(path))


def _read_file(path: pathlib.Path) -> Weights:
  file = opened(path)
  file = dataclasses.replace(
    file, load=lambda load=file.load: _filled(load(), path)
  )
  for one in _imports():
    if one.matches(file):
      return one.read(file)
  kind = file.config.get('model_type')
  what = f"a Hugging Face model of type '{kind}'" if kind else file.container
  raise UserError(
    f'{path} is {what}, but not of a known model (it has '
    f'{", ".join(file.names[:5])}): {_FORMATS}.'
  )


def _filled(
  arrays: dict[str, np.ndarray], path: pathlib.Path
) -> dict[str, np.ndarray]:
  for name, array in arrays.items():
    if not array.size:
      raise damaged(path, f'{name} is empty, of shape {array.shape}')
  return arrays


def _without_prefix(file: File) -> File:
  """Removes the prefixes 'module.' and 'model.' that all names have."""
  prefix = ''
  if file.container in TORCH and file.names:
    for part in ('module.', 'model.'):
      if all(name.startswith(prefix + part) for name in file.names):
        prefix += part
  if not prefix:
    return file
  names = [name.removeprefix(prefix) for name in file.names]

  def load() -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in file.load().items()}

  return dataclasses.replace(file, names=names, load=load, prefix=prefix)


def _open_zip(path: pathlib.Path) -> File:
  torch = torch_files.is_zip(path)
  return torch_files.open_file(path) if torch else npz.open_file(path)


def _opener(path: pathlib.Path) -> Callable[[pathlib.Path], File] | None:
  """Returns the reader for a file's first bytes; None if they are unknown."""
  if path.exists() and not path.is_file():
    raise UserError(f'the checkpoint {path} is neither a file nor a folder.')
  with open(path, 'rb') as file:
    head = file.read(16)
  if not head:
    raise damaged(path, 'it is empty')
  for index, shard_opener in _SHARDS.items():
    if path.name.endswith(index):
      return functools.partial(hugging_face.open_index, open_file=shard_opener)
  if head.startswith(b'PK'):
    return _open_zip
  # Safetensors: the header's length in 8 bytes, then its {. The upper bytes are
  # 0; in msgpack, letters of the first key are there.
  if head[5:9] == b'\0\0\0{':
    return safetensors_files.open_file
  if re.match(rb'\x80[\x02-\x05]', head):
    return torch_files.open_file
  if re.match(rb'[\x80-\x8f\xde\xdf]', head):
    return flax_msgpack.open_file
  return None

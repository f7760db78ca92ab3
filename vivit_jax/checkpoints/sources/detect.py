"""What a path is, by its content: which container, then which family's."""

import os
import pathlib
import re
from collections.abc import Callable

from vivit_jax.checkpoints.sources import (
  flax_msgpack,
  native,
  npz,
  safetensors_files,
)
from vivit_jax.errors import UserError, damaged
from vivit_jax.models import family as families
from vivit_jax.models.weights import File, Weights


def read(path: str | os.PathLike, *, ema: bool = True) -> Weights:
  """Reads the parameters of a checkpoint in any known format.

  Args:
    path: of the checkpoint.
    ema: of this package's own, take the averaged weights, if there are any.

  Raises:
    UserError: no such file, an unknown format, or a damaged file.
  """
  path = pathlib.Path(path)
  try:
    weights = _read(path, ema)
    fault = weights.fault()
  except UserError:
    raise
  except OSError as error:
    raise UserError(
      f'cannot read the checkpoint {path}: {error.strerror or error}.'
    ) from None
  except Exception as error:  # a hostile file may break a reader anywhere
    raise damaged(path, error or repr(error)) from None
  if fault is not None:
    raise damaged(path, fault)
  return weights


def within(path: str | os.PathLike) -> list[pathlib.Path]:
  """Returns the checkpoints of a folder that is none itself, in order.

  Files `checkpoint_<step>` come by their steps. A file, a folder that is one
  checkpoint, and one without any, are the only element.

  Raises:
    UserError: a path that cannot be read.
  """
  path = pathlib.Path(path)
  try:
    if not path.is_dir() or _is_one(path):
      return [path]
    steps = _by_step(path)
    found = [steps[step] for step in sorted(steps)]
    if not found:
      entries = sorted(path.iterdir())
      found = [x for x in entries if x.is_file() and _opener_of(x) is not None]
      found += [x for x in entries if x.is_dir() and _is_one(x)]
  except OSError as error:
    raise UserError(
      f'cannot read the checkpoint {path}: {error.strerror or error}.'
    ) from None
  return found if len(found) > 1 else [path]


def place(path: str | os.PathLike) -> pathlib.Path:
  """Returns where a checkpoint is, the same of a file and its folder alone.

  Links are resolved; what cannot be read is where it is said to be.
  """
  path = pathlib.Path(path)
  try:
    whole = (path / 'model.safetensors').exists() or native.is_native(path)
    if path.is_dir() and not whole:
      files_there = _files_of(path)
      path = files_there[0] if len(files_there) == 1 else path
    return path.resolve()
  except (OSError, UserError):
    return path


def _is_one(folder: pathlib.Path) -> bool:
  """Returns whether a folder is one checkpoint, as far as its names tell."""
  whole = (folder / 'model.safetensors').exists()
  return native.is_native(folder) or whole or len(_by_step(folder)) == 1


def _by_step(folder: pathlib.Path) -> dict[int, pathlib.Path]:
  """Returns a folder's files 'checkpoint' and 'checkpoint_<step>' by step."""
  return {
    int(match[1] or 0): path
    for path in sorted(folder.iterdir())
    if path.is_file()
    and (match := re.fullmatch(r'checkpoint(?:_(\d+))?', path.name))
  }


def _files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns a folder's last `checkpoint_<step>`, else files of any format."""
  steps = _by_step(folder)
  if steps:
    return [steps[max(steps)]]
  found = [path for path in sorted(folder.iterdir()) if path.is_file()]
  return [path for path in found if _opener_of(path) is not None]


def imports() -> list[families.Import]:
  """Returns what every family can be read from, each once."""
  found = []
  for family in families.every().values():
    found += [one for one in family.imports if one not in found]
  return found


def _known() -> str:
  return ', '.join(['a workdir of vivit_jax', *(one.what for one in imports())])


def _read(path: pathlib.Path, ema: bool = True) -> Weights:
  if '\0' in str(path):
    raise UserError('the path of the checkpoint has a NUL in it.')
  if path.is_dir():
    return _read_folder(path, ema)
  opened = _opener_of(path)
  if opened is None:
    raise UserError(f'{path} is no checkpoint known here: {_known()}.')
  file = opened(path)
  for one in imports():
    if one.recognises(file):
      return one.read(file)
  kind = file.config.get('model_type')
  what = f"a Hugging Face model of type '{kind}'" if kind else file.container
  raise UserError(
    f'{path} is {what}, but of no model known here: {_known()}; it has '
    f'{", ".join(file.names[:5])}.'
  )


def _opener_of(path: pathlib.Path) -> Callable[[pathlib.Path], File] | None:
  """Returns what opens a file, by its first bytes; None for nothing known."""
  if path.exists() and not path.is_file():
    raise UserError(f'the checkpoint {path} is no file and no folder.')
  with open(path, 'rb') as file:
    head = file.read(16)
  if head.startswith(b'PK'):
    return npz.open_file
  if head[8:9] == b'{':
    return safetensors_files.open_file
  if re.match(rb'\x80[\x02-\x05]', head):
    return _refuse_pickle
  if re.match(rb'[\x80-\x8f\xde\xdf]', head):
    return flax_msgpack.open_file
  return None


def _refuse_pickle(path: pathlib.Path) -> File:
  raise UserError(
    f'{path} is pickled, and could run code when it is read: ask its owner '
    'for safetensors or plain arrays.'
  )


def _read_folder(folder: pathlib.Path, ema: bool) -> Weights:
  if native.is_native(folder):
    return native.read(folder, ema=ema)[0]
  if (folder / 'model.safetensors').exists():
    return _read(folder / 'model.safetensors')
  readable = _files_of(folder)
  if len(readable) == 1:
    return _read(readable[0])
  several = (
    f'; it holds {", ".join(path.name for path in readable[:5])}: name one'
    if readable
    else ''
  )
  raise UserError(f'{folder} is no checkpoint known here: {_known()}{several}.')

"""What a path is, by its content."""

import os
import pathlib
import re

from vivit_jax.checkpoints.formats import (
  huggingface,
  image_npz,
  native,
  scenic,
)
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError

_KNOWN = (
  'a workdir of vivit_jax, a scenic checkpoint, an image ViT in npz, a Hugging '
  'Face folder, or a ViT in safetensors'
)


def read(path: str | os.PathLike) -> Weights:
  """Reads the parameters of a checkpoint in any known format.

  Raises:
    UserError: no such file, an unknown format, or a damaged file.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    return _read_folder(path)
  try:
    with open(path, 'rb') as file:
      head = file.read(16)
  except OSError as error:
    raise UserError(
      f'cannot read the checkpoint {path}: {error.strerror}.'
    ) from None
  if head.startswith(b'PK'):
    return image_npz.read(path)
  if head[8:9] == b'{':
    if (path.parent / 'config.json').exists():
      return huggingface.read(path.parent)
    return huggingface.read_timm(path)
  if head.startswith(b'\x80') and head[1:2] in (
    b'\x02',
    b'\x03',
    b'\x04',
    b'\x05',
  ):
    raise UserError(
      f'{path} is pickled, and could run code when it is read: ask its owner '
      'for safetensors or plain arrays.'
    )
  if head and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
    return scenic.read(path)
  raise UserError(f'{path} is no checkpoint known here: {_KNOWN}.')


def _read_folder(folder: pathlib.Path) -> Weights:
  if native.is_native(folder):
    return native.read(folder)[0]
  if (folder / 'model.safetensors').exists():
    return huggingface.read(folder)
  steps = {
    int(match[1] or 0): path
    for path in folder.iterdir()
    if (match := re.fullmatch(r'checkpoint(?:_(\d+))?', path.name))
  }
  if steps:
    return scenic.read(steps[max(steps)])
  raise UserError(f'{folder} is no checkpoint known here: {_KNOWN}.')

"""Refuses pickled files, which could run code when they are read."""

import pathlib
import re
from typing import NoReturn

from vivit_jax.errors import UserError

# The first bytes of torch files before torch 1.6: a pickled number.
TORCH_1_5 = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def refuse_torch(path: pathlib.Path) -> NoReturn:
  """Raises the UserError for a file of torch, which says how to convert it.

  The shards of a model, NAME-0000i-of-0000N.bin, are merged.
  """
  load, which = f"torch.load('{path}', weights_only=True)", 'torch writes them'
  if match := re.fullmatch(r'(.+)-\d{5}-of-(\d{5})(\.\w+)', path.name):
    shard = path.with_name(f'{match[1]}-%05d-of-{match[2]}{match[3]}')
    count = int(match[2])
    load = (
      f'{{k: x for n in range({count}) for k, x in torch.load('
      f"'{shard}' % (n + 1), weights_only=True).items()}}"
    )
    which = f'torch merges all {count} shards into one'
  raise UserError(
    f'{path} is pickled by torch, and could run code when it is read: use '
    'safetensors. Those of google/vivit-b-16x2-kinetics400 are in its revision '
    f'refs/pr/3. Otherwise, {which}: python -c "import torch, '
    f'safetensors.torch as s; s.save_file({load}, '
    f"'{path.with_name('model.safetensors')}')\"."
  )


def refuse(path: pathlib.Path) -> NoReturn:
  """Raises the UserError for a pickled file."""
  with open(path, 'rb') as file:
    if file.read(len(TORCH_1_5)) == TORCH_1_5:
      refuse_torch(path)
  raise UserError(
    f'{path} is pickled, and could run code when it is read: ask its owner '
    'for safetensors or plain arrays.'
  )

"""Array names of MViT in SlowFast, pytorchvideo and torchvision."""

import re

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import torch_names
from vivit_jax.models.mvit import weights as own
from vivit_jax.models.weights import TORCH, File

_BLOCK = 'Transformer/encoderblock_#'
_ATTENTION = own.ATTENTION.format('#')
_TABLES = [
  (f'blocks.#.attn.rel_pos_{axis}', f'{_ATTENTION}/rel_pos_{axis}', 'n d')
  for axis in 'thw'
]
_POSITIONS = {'class': 'cls', 'spatial': 'space', 'temporal': 'time'}
_SAME = [  # modules with the same names in SlowFast and torchvision
  ('blocks.#.norm1', f'{_BLOCK}/LayerNorm_0', 'norm'),
  ('blocks.#.norm2', f'{_BLOCK}/LayerNorm_1', 'norm'),
  *(
    (f'blocks.#.attn.{part}', f'{_ATTENTION}/{part}', 'split')
    for part in ('query', 'key', 'value')
  ),
  ('norm', 'Transformer/encoder_norm', 'norm'),
  ('head.projection', 'output_projection', 'dense'),
]
_SLOWFAST = torch_names.rows(
  [
    *_SAME,
    ('patch_embed.proj', 'embedding', 'patches'),
    ('blocks.#.attn.proj', f'{_ATTENTION}/out', 'merge'),
    ('blocks.#.mlp.fc1', f'{_BLOCK}/MlpBlock_0/Dense_0', 'dense'),
    ('blocks.#.mlp.fc2', f'{_BLOCK}/MlpBlock_0/Dense_1', 'dense'),
    ('blocks.#.proj', f'{_BLOCK}/projection', 'dense'),
    *(
      (f'blocks.#.attn.{kind}_{part}', f'{_ATTENTION}/{kind}_{part}', how)
      for kind, how in (('pool', 'patches'), ('norm', 'norm'))
      for part in 'qkv'
    ),
  ],
  [
    *_TABLES,
    ('cls_token', 'cls'),
    *(
      (
        f'pos_embed_{theirs}',
        f'Transformer/posembed_input/{ours}_embedding',
        '1 n d',
      )
      for theirs, ours in _POSITIONS.items()
    ),
  ],
)
TORCHVISION = torch_names.rows(
  [
    *_SAME,
    ('conv_proj', 'embedding', 'patches'),
    ('blocks.#.attn.project.0', f'{_ATTENTION}/out', 'merge'),
    ('blocks.#.mlp.0', f'{_BLOCK}/MlpBlock_0/Dense_0', 'dense'),
    ('blocks.#.mlp.3', f'{_BLOCK}/MlpBlock_0/Dense_1', 'dense'),
    ('blocks.#.project', f'{_BLOCK}/projection', 'dense'),
    *(
      (
        f'blocks.#.attn.pool_{part}.{theirs}',
        f'{_ATTENTION}/{ours}_{part}',
        how,
      )
      for theirs, ours, how in (
        ('pool', 'pool', 'patches'),
        ('norm_act.0', 'norm', 'norm'),
      )
      for part in 'qkv'
    ),
  ],
  _TABLES,
) + [
  ('pos_encoding.class_token', 'cls', 'D', '1 1 D'),
  *(
    (
      f'pos_encoding.{theirs}_pos',
      f'Transformer/posembed_input/{ours}_embedding',
      'D' if ours == 'cls' else 'N D',
      '1 1 D' if ours == 'cls' else '1 N D',
    )
    for theirs, ours in _POSITIONS.items()
  ),
]
_PYTORCHVIDEO = (
  (r'^patch_embed\.patch_model\.', 'patch_embed.proj.'),
  (r'^cls_positional_encoding\.', ''),
  (r'\._attention_(pool_[qkv])\.pool\.', r'.\1.'),
  (r'\._attention_pool_([qkv])\.norm\.', r'.norm_\1.'),
  (r'^norm_embed\.', 'norm.'),
  (r'^head\.proj\.', 'head.projection.'),
)
_APART = {'q': 'query', 'k': 'key', 'v': 'value'}
_POOL = re.compile(r'blocks\.\d+\.attn\.(_attention_)?pool_[qkv]\.')


def is_mvit(file: File) -> bool:
  """Returns whether a file has pooling as one of these projects names it."""
  return file.container in TORCH and any(map(_POOL.match, file.names))


def project_of(file: File) -> str:
  """Returns the project whose names a file has."""
  names = {*file.names}
  if 'conv_proj.weight' in names:
    return 'torchvision'
  if 'patch_embed.patch_model.weight' in names:
    return 'pytorchvideo'
  return 'SlowFast'


def to_ours(file: File, project: str) -> dict[str, np.ndarray]:
  """Returns a file's arrays under our names.

  Raises:
    UserError: an unknown array, widths that do not fit, or joint positions.
  """
  if 'pos_embed' in file.names:
    raise UserError(
      f'{file.path} is an MViT with one table of positions, pos_embed: only '
      'tables for space and time apart are supported.'
    )
  groups: dict[str, dict[str, np.ndarray]] = {}
  for name, array in file.load().items():
    for pattern, replacement in _PYTORCHVIDEO:
      name = re.sub(pattern, replacement, name)
    name = re.sub(r'^head\.1\.', 'head.projection.', name)
    name = re.sub(
      r'\.attn\.([qkv])\.', lambda x: f'.attn.{_APART[x[1]]}.', name
    )
    block = re.match(r'blocks\.\d+\.', name)
    groups.setdefault(block[0] if block else '', {})[name] = array
  pool = next(
    x
    for part in groups.values()
    for n, x in part.items()
    if x.ndim and _POOL.match(n)
  )
  table = TORCHVISION if project == 'torchvision' else _SLOWFAST
  out = 'project.0' if project == 'torchvision' else 'proj'
  arrays = {}
  for block, part in groups.items():
    heads, name = 1, f'{block}attn.{out}.weight'
    if block:
      if name not in part or not part[name].ndim:
        raise damaged(file.path, f'{name} is missing or damaged')
      heads = max(len(part[name]) // len(pool), 1)
    arrays |= torch_names.to_ours(part, heads, file.path, table)
  return arrays

"""Array names of V-JEPA 2: ours, transformers' and the authors'."""

import re

import numpy as np

from vivit_jax.models import attention_pools, classifier, torch_names
from vivit_jax.models.vjepa2 import weights as own
from vivit_jax.models.weights import File

_BLOCK = 'Transformer/encoderblock_#'
_ATTENTION = 'MultiHeadDotProductAttention_0'
_LAYER = 'encoder.layer.#'
_POOL = attention_pools.NAME
_SELF = 'pooler.self_attention_layers.#'
_CROSS = 'pooler.cross_attention_layer'


def _mlp(theirs: str, ours: str) -> list[tuple[str, str, str]]:
  return [
    (f'{theirs}.mlp.fc{n + 1}', f'{ours}/MlpBlock_0/Dense_{n}', 'dense')
    for n in (0, 1)
  ]


TABLE = torch_names.rows(
  [
    ('encoder.embeddings.patch_embeddings.proj', 'embedding', 'patches'),
    (f'{_LAYER}.norm1', f'{_BLOCK}/LayerNorm_0', 'norm'),
    (f'{_LAYER}.norm2', f'{_BLOCK}/LayerNorm_1', 'norm'),
    *(
      (f'{_LAYER}.attention.{name}', f'{_BLOCK}/{_ATTENTION}/{name}', 'split')
      for name in ('query', 'key', 'value')
    ),
    (f'{_LAYER}.attention.proj', f'{_BLOCK}/{_ATTENTION}/out', 'merge'),
    *_mlp(_LAYER, _BLOCK),
    ('encoder.layernorm', 'Transformer/encoder_norm', 'norm'),
    ('classifier', classifier.HEAD, 'dense'),
  ],
  [('encoder.pos_embed', own.FIXED_POSITIONS)],
)
POOL_TABLE = torch_names.rows(
  [
    (f'{_SELF}.layer_norm1', f'{_POOL}/block_#/LayerNorm_0', 'norm'),
    (f'{_SELF}.layer_norm2', f'{_POOL}/block_#/LayerNorm_1', 'norm'),
    *(
      (
        f'{_SELF}.self_attn.{name[0]}_proj',
        f'{_POOL}/block_#/{_ATTENTION}/{name}',
        'split',
      )
      for name in ('query', 'key', 'value')
    ),
    (
      f'{_SELF}.self_attn.out_proj',
      f'{_POOL}/block_#/{_ATTENTION}/out',
      'merge',
    ),
    *_mlp(_SELF, f'{_POOL}/block_#'),
    (f'{_CROSS}.layer_norm1', f'{_POOL}/LayerNorm_0', 'norm'),
    (f'{_CROSS}.layer_norm2', f'{_POOL}/LayerNorm_1', 'norm'),
    *(
      (f'{_CROSS}.cross_attn.{name[0]}_proj', f'{_POOL}/{name}', 'split')
      for name in ('query', 'key', 'value')
    ),
    *_mlp(_CROSS, _POOL),
  ],
  [('pooler.query_tokens', f'{_POOL}/probe')],
)
# (pattern, replacement): the authors' names -> transformers'.
_TO_TRANSFORMERS = (
  (r'^backbone\.|^(?=(patch_embed|blocks|norm)\.)', 'encoder.'),
  (r'^encoder\.patch_embed\.', 'encoder.embeddings.patch_embeddings.'),
  (r'^encoder\.blocks\.(\d+)\.attn\.', r'encoder.layer.\1.attention.'),
  (r'^encoder\.blocks\.', 'encoder.layer.'),
  (r'^encoder\.norm\.', 'encoder.layernorm.'),
  (r'^pooler\.blocks\.', 'pooler.self_attention_layers.'),
  (r'^pooler\.cross_attention_block\.', f'{_CROSS}.'),
  (r'^(pooler\..*)\.norm(\d)\.', r'\1.layer_norm\2.'),
  (r'^(pooler\..*)\.attn\.proj\.', r'\1.self_attn.out_proj.'),
  (r'^(pooler\..*)\.attn\.qkv\.', r'\1.self_attn.qkv_proj.'),
  (r'^(pooler\..*)\.xattn\.(\w+)\.', r'\1.cross_attn.\2_proj.'),
  (r'^linear\.', 'classifier.'),
)
AUTHORS = re.compile(
  r'(backbone\.)?(patch_embed\.proj|norm'
  r'|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12]))\.(weight|bias)'
  r'|backbone\.pos_embed|pooler\.query_tokens'
  r'|pooler\.(blocks\.\d+|cross_attention_block)\..+|linear\.(weight|bias)'
)
VERSION_2_1 = re.compile(r'(.+\.)?(norms_block|patch_embed_img|\w*mod_embed)\b')


def to_transformers(
  file: File,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns arrays under transformers' names, and those of the predictor.

  Raises:
    UserError: an array of joined projections that cannot be split.
  """
  named, predictor = {}, {}
  for name, array in file.load().items():
    name = name.removeprefix('vjepa2.')
    if name.startswith('predictor.'):
      predictor[name.replace('.', '/', 1)] = array
      continue
    for pattern, theirs in _TO_TRANSFORMERS:
      name = re.sub(pattern, theirs, name)
    joined = re.search(r'(?<=\.)(qkv|kv)(?=_proj\.)', name)
    if not joined:
      named[name] = array
      continue
    parts = torch_names.parts(name, array, len(joined[0]), file.path)
    for letter, part in zip(joined[0], parts):
      named[f'{name[: joined.start()]}{letter}{name[joined.end() :]}'] = part
  return named, predictor

"""Names and layouts of PyTorch ViTs and TimeSformers: Hugging Face and timm.

One table serves reading and writing. '#' stands for a layer number.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import einops
import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models.sizes import Size
from vivit_jax.models.weights import File

_ATTENTION = 'Transformer/encoderblock_#/MultiHeadDotProductAttention_0'
_TEMPORAL = 'Transformer/encoderblock_#/MultiHeadDotProductAttention_temporal'
_BLOCK = 'Transformer/encoderblock_#'
_LAYER = 'encoder.layer.#'
_TIME = f'{_LAYER}.temporal_attention'

# Modules: (Hugging Face's name without the model's prefix, ours, a key of
# `_LAYOUTS`).
_MODULES = [
  ('embeddings.patch_embeddings.projection', 'embedding', 'patches'),
  (f'{_LAYER}.layernorm_before', f'{_BLOCK}/LayerNorm_0', 'norm'),
  (f'{_LAYER}.layernorm_after', f'{_BLOCK}/LayerNorm_1', 'norm'),
  (f'{_LAYER}.attention.attention.query', f'{_ATTENTION}/query', 'split'),
  (f'{_LAYER}.attention.attention.key', f'{_ATTENTION}/key', 'split'),
  (f'{_LAYER}.attention.attention.value', f'{_ATTENTION}/value', 'split'),
  (f'{_LAYER}.attention.output.dense', f'{_ATTENTION}/out', 'merge'),
  (f'{_LAYER}.temporal_layernorm', f'{_BLOCK}/LayerNorm_temporal', 'norm'),
  (f'{_TIME}.attention.query', f'{_TEMPORAL}/query', 'split'),
  (f'{_TIME}.attention.key', f'{_TEMPORAL}/key', 'split'),
  (f'{_TIME}.attention.value', f'{_TEMPORAL}/value', 'split'),
  (f'{_TIME}.output.dense', f'{_TEMPORAL}/out', 'merge'),
  (f'{_LAYER}.temporal_dense', f'{_BLOCK}/temporal_fc', 'dense'),
  (f'{_LAYER}.intermediate.dense', f'{_BLOCK}/MlpBlock_0/Dense_0', 'dense'),
  (f'{_LAYER}.output.dense', f'{_BLOCK}/MlpBlock_0/Dense_1', 'dense'),
  ('layernorm', 'Transformer/encoder_norm', 'norm'),
  ('pooler.dense', 'pooler', 'dense'),
  ('classifier', 'output_projection', 'dense'),
]
# Single arrays with the same layout in both: (Hugging Face's name, ours).
_ARRAYS = [
  ('embeddings.cls_token', 'cls'),
  (
    'embeddings.position_embeddings',
    'Transformer/posembed_input/pos_embedding',
  ),
  (
    'embeddings.time_embeddings',
    'Transformer/posembed_input/time_embedding',
  ),
]
# For weight and bias: (our name, their axes, our axes); h: attention heads.
_LAYOUTS = {
  'norm': (('scale', 'D', 'D'), ('bias', 'D', 'D')),
  'dense': (('kernel', 'o i', 'i o'), ('bias', 'o', 'o')),
  'split': (('kernel', '(h d) D', 'D h d'), ('bias', '(h d)', 'h d')),
  'merge': (('kernel', 'D (h d)', 'h d D'), ('bias', 'D', 'D')),
  'patches': (('kernel', 'D C ...', '... C D'), ('bias', 'D', 'D')),
}
# timm's name, or TimeSformer's -> Hugging Face's.
_TIMM = {
  'cls_token': 'embeddings.cls_token',
  'pos_embed': 'embeddings.position_embeddings',
  'time_embed': 'embeddings.time_embeddings',
  'patch_embed.proj': 'embeddings.patch_embeddings.projection',
  'blocks.#.norm1': f'{_LAYER}.layernorm_before',
  'blocks.#.norm2': f'{_LAYER}.layernorm_after',
  'blocks.#.temporal_norm1': f'{_LAYER}.temporal_layernorm',
  'blocks.#.temporal_attn.qkv': f'{_TIME}.attention.qkv',
  'blocks.#.temporal_attn.proj': f'{_TIME}.output.dense',
  'blocks.#.temporal_fc': f'{_LAYER}.temporal_dense',
  'blocks.#.attn.qkv': f'{_LAYER}.attention.attention.qkv',
  'blocks.#.attn.q_bias': f'{_LAYER}.attention.attention.q_bias',
  'blocks.#.attn.v_bias': f'{_LAYER}.attention.attention.v_bias',
  'blocks.#.attn.proj': f'{_LAYER}.attention.output.dense',
  'blocks.#.mlp.fc1': f'{_LAYER}.intermediate.dense',
  'blocks.#.mlp.fc2': f'{_LAYER}.output.dense',
  'norm': 'layernorm',
  'head': 'classifier',
}
# Name of a ViT or ViViT in the memory of transformers 5, which torch.save
# writes -> in the files of `save_pretrained`.
_IN_MEMORY = {
  'layers.#.layernorm_before': f'{_LAYER}.layernorm_before',
  'layers.#.layernorm_after': f'{_LAYER}.layernorm_after',
  'layers.#.attention.q_proj': f'{_LAYER}.attention.attention.query',
  'layers.#.attention.k_proj': f'{_LAYER}.attention.attention.key',
  'layers.#.attention.v_proj': f'{_LAYER}.attention.attention.value',
  'layers.#.attention.o_proj': f'{_LAYER}.attention.output.dense',
  'layers.#.mlp.fc1': f'{_LAYER}.intermediate.dense',
  'layers.#.mlp.fc2': f'{_LAYER}.output.dense',
}


Row = tuple[str, str, str, str]  # their name, our name, their axes, our axes


def rows(
  modules: Sequence[tuple[str, str, str]], arrays: Sequence[tuple[str, ...]]
) -> list[Row]:
  """Returns the rows of a table.

  Args:
    modules: (their name, our name, key of `_LAYOUTS`).
    arrays: (their name, our name), and the axes in both if they are checked.
  """
  rows = [
    (theirs, ours, *(axes or ['...']) * 2) for theirs, ours, *axes in arrays
  ]
  for theirs, ours, layout in modules:
    for torch_name, (name, *axes) in zip(('weight', 'bias'), _LAYOUTS[layout]):
      rows.append((f'{theirs}.{torch_name}', f'{ours}/{name}', *axes))
  return rows


ROWS = rows(_MODULES, _ARRAYS)


def _split(name: str) -> tuple[str, str]:
  """Returns the layer number ('' if none), and the name with # for it."""
  number = re.search(r'(?<=[._])\d+(?=[./])', name)
  if not number:
    return '', name
  return number[0], f'{name[: number.start()]}#{name[number.end() :]}'


def heads_of(
  file: File, width: int, *keys: str, known: Collection[Size] = ()
) -> int | None:
  """Returns the attention heads of a torch model; None if unknown.

  The number in config.json beside the file, under one of `keys` or, without
  any, under the usual ones; else that of a `known` size of this width; else
  width / 64 if that is whole.

  Raises:
    UserError: config.json has another value than a positive integer.
  """
  if heads := stated_heads(file, *keys):
    return heads
  by_width = {size.width: size.attention_heads for size in known}
  return by_width.get(width, None if width % 64 else width // 64)


def heads_obstacle(
  file: File, keys: str = 'model.options.attention_heads'
) -> str:
  """Returns why weights of unknown attention heads have no config."""
  return (
    f'{file.path} does not state its attention heads: set {keys} in a '
    '--config=FILE of its model.'
  )


def stated_heads(file: File, *keys: str) -> int | None:
  """Returns the attention heads that `heads_of` finds in config.json."""
  for key in keys or ('num_attention_heads', 'num_heads'):
    if heads := stated(file, key):
      return heads
  return None


def stated(file: File, key: str) -> int | None:
  """Returns a positive integer of config.json beside the file, if it is there.

  Raises:
    UserError: another value.
  """
  value = file.config.get(key)
  if key in file.config and (type(value) is not int or value < 1):
    where = file.path.with_name('config.json')
    raise damaged(where, f'{key} is {value!r}, not a positive integer')
  return value


def to_ours(
  arrays: Mapping[str, np.ndarray],
  heads: int,
  where: object,
  table: Sequence[Row] = ROWS,
) -> dict[str, np.ndarray]:
  """Returns a Hugging Face ViT's arrays under our names and layouts.

  Query, key and value may be joined in one array, named qkv.

  Args:
    arrays: by Hugging Face's names without the model's prefix.
    heads: number of attention heads.
    where: the file, for errors.
    table: rows of another model.

  Raises:
    UserError: unknown names, or shapes that do not fit `heads`.
  """
  by_theirs = {row[0]: row for row in table}
  renamed, unknown = {}, []
  for name, array in _split_qkv(arrays, where).items():
    layer, pattern = _split(name)
    if pattern not in by_theirs:
      unknown.append(name)
      continue
    _, ours, their_axes, our_axes = by_theirs[pattern]
    sizes = {'h': heads} if 'h' in their_axes else {}
    try:
      array = einops.rearrange(array, f'{their_axes} -> {our_axes}', **sizes)
    except einops.EinopsError:
      what = f'{name} has shape {array.shape}, which does not '
      if not sizes:
        raise damaged(where, f'{what}have the axes {their_axes}') from None
      raise UserError(f'{where}: {what}fit {heads} attention heads.') from None
    renamed[ours.replace('#', layer)] = array
  if unknown:
    raise UserError(
      f'{where} has {len(unknown)} arrays that no known model has: '
      f'{", ".join(unknown[:5])}{" ..." if len(unknown) > 5 else ""}.'
    )
  return renamed


def to_theirs(
  arrays: Mapping[str, np.ndarray], table: Sequence[Row] = ROWS
) -> dict[str, np.ndarray]:
  """Returns arrays under the table's names and layouts; inverts `to_ours`.

  Raises:
    UserError: an array that is not in the table.
  """
  by_ours, renamed = {row[1]: row for row in table}, {}
  for name, array in arrays.items():
    # The number in a name may be part of it: LayerNorm_0.
    layer, pattern = ('', name) if name in by_ours else _split(name)
    if pattern not in by_ours:
      raise UserError(f'{name} has no name in the other format.')
    theirs, _, their_axes, our_axes = by_ours[pattern]
    array = einops.rearrange(np.asarray(array), f'{our_axes} -> {their_axes}')
    renamed[theirs.replace('#', layer)] = np.ascontiguousarray(array)
  return renamed


def from_timm(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns a timm ViT's, or TimeSformer's, arrays under Hugging Face's names.

  q, k and v stay in one array, which `to_ours` splits.
  """
  return _renamed(arrays, _TIMM)


def from_memory(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays under the names of Hugging Face's files.

  Args:
    arrays: by those names, or by the names that transformers 5 has in memory.
  """
  return _renamed(arrays, _IN_MEMORY)


def _renamed(
  arrays: Mapping[str, np.ndarray], table: Mapping[str, str]
) -> dict[str, np.ndarray]:
  renamed = {}
  for name, array in arrays.items():
    layer, pattern = _split(name)
    module, _, part = pattern.rpartition('.')
    theirs = table.get(pattern, pattern)
    if module in table:
      theirs = f'{table[module]}.{part}'
    # `to_ours` reports unknown names.
    renamed[theirs.replace('#', layer)] = array
  return renamed


_QKV = ('query', 'key', 'value')


def _split_qkv(
  arrays: Mapping[str, np.ndarray], where: object
) -> dict[str, np.ndarray]:
  """Splits arrays named qkv into query, key and value."""
  split = {}
  for name, array in arrays.items():
    if '.qkv.' not in name:
      split[name] = array
      continue
    for key, piece in zip(_QKV, parts(name, array, 3, where)):
      split[name.replace('.qkv.', f'.{key}.')] = piece
  return split


def parts(
  name: str, array: np.ndarray, count: int, where: object
) -> list[np.ndarray]:
  """Returns the parts of an array that are joined along the first axis.

  Raises:
    UserError: the array, `name` in the file `where`, has not `count` parts.
  """
  if not array.ndim or len(array) % count:
    raise damaged(
      where, f'{name} has shape {array.shape}, which is not of {count} parts'
    )
  return np.split(array, count)


def joined_qkv(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays with query, key and value joined into one, named qkv."""
  joined = {}
  for name, array in arrays.items():
    if '.query.' in name:
      parts = [arrays[name.replace('.query.', f'.{key}.')] for key in _QKV]
      joined[name.replace('.query.', '.qkv.')] = np.concatenate(parts)
    elif '.key.' not in name and '.value.' not in name:
      joined[name] = array
  return joined

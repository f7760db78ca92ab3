"""Names and layouts of torch's ViTs: Hugging Face's, and timm's.

One table serves reading and writing. '#' stands for a layer's number.
"""

import re
from collections.abc import Mapping

import einops
import numpy as np

from vivit_jax.errors import UserError

_ATTENTION = 'Transformer/encoderblock_#/MultiHeadDotProductAttention_0'
_BLOCK = 'Transformer/encoderblock_#'
_LAYER = 'encoder.layer.#'

# (Hugging Face's name without the model's prefix, ours, a key of `_LAYOUTS`)
_PARTS = [
  ('embeddings.patch_embeddings.projection', 'embedding', 'patches'),
  (f'{_LAYER}.layernorm_before', f'{_BLOCK}/LayerNorm_0', 'norm'),
  (f'{_LAYER}.layernorm_after', f'{_BLOCK}/LayerNorm_1', 'norm'),
  (f'{_LAYER}.attention.attention.query', f'{_ATTENTION}/query', 'split'),
  (f'{_LAYER}.attention.attention.key', f'{_ATTENTION}/key', 'split'),
  (f'{_LAYER}.attention.attention.value', f'{_ATTENTION}/value', 'split'),
  (f'{_LAYER}.attention.output.dense', f'{_ATTENTION}/out', 'merge'),
  (f'{_LAYER}.intermediate.dense', f'{_BLOCK}/MlpBlock_0/Dense_0', 'dense'),
  (f'{_LAYER}.output.dense', f'{_BLOCK}/MlpBlock_0/Dense_1', 'dense'),
  ('layernorm', 'Transformer/encoder_norm', 'norm'),
  ('pooler.dense', 'pooler', 'dense'),
  ('classifier', 'output_projection', 'dense'),
]
_WHOLE = [
  ('embeddings.cls_token', 'cls'),
  (
    'embeddings.position_embeddings',
    'Transformer/posembed_input/pos_embedding',
  ),
]
# Of weight and bias: our name, and axes there -> axes here (h attention heads).
_LAYOUTS = {
  'norm': (('scale', 'D', 'D'), ('bias', 'D', 'D')),
  'dense': (('kernel', 'o i', 'i o'), ('bias', 'o', 'o')),
  'split': (('kernel', '(h d) D', 'D h d'), ('bias', '(h d)', 'h d')),
  'merge': (('kernel', 'D (h d)', 'h d D'), ('bias', 'D', 'D')),
  'patches': (('kernel', 'D C ...', '... C D'), ('bias', 'D', 'D')),
}
_TIMM = {
  'cls_token': 'embeddings.cls_token',
  'pos_embed': 'embeddings.position_embeddings',
  'patch_embed.proj': 'embeddings.patch_embeddings.projection',
  'blocks.#.norm1': f'{_LAYER}.layernorm_before',
  'blocks.#.norm2': f'{_LAYER}.layernorm_after',
  'blocks.#.attn.proj': f'{_LAYER}.attention.output.dense',
  'blocks.#.mlp.fc1': f'{_LAYER}.intermediate.dense',
  'blocks.#.mlp.fc2': f'{_LAYER}.output.dense',
  'norm': 'layernorm',
  'head': 'classifier',
}


def _table() -> list[tuple[str, str, str, str]]:
  """Returns (their name, our name, their axes, our axes) of every array."""
  rows = [(theirs, ours, '...', '...') for theirs, ours in _WHOLE]
  for theirs, ours, layout in _PARTS:
    for ending, (name, there, here) in zip(
      ('weight', 'bias'), _LAYOUTS[layout]
    ):
      rows.append((f'{theirs}.{ending}', f'{ours}/{name}', there, here))
  return rows


def _find(name: str, column: int) -> tuple[int | None, tuple] | None:
  """Returns the layer and the row of a name, by its column in the table."""
  numbered = re.sub(r'(?<=[._])\d+(?=[./])', '#', name, count=1)
  layer = re.search(r'(?<=[._])\d+(?=[./])', name) if '#' in numbered else None
  for row in _table():
    if row[column] == numbered:
      return (None if layer is None else int(layer[0])), row
    if row[column] == name:
      return None, row
  return None


def to_ours(
  arrays: Mapping[str, np.ndarray], heads: int, where: object
) -> dict[str, np.ndarray]:
  """Renames a Hugging Face ViT's arrays, without prefix, and lays them out.

  Args:
    arrays: of the model.
    heads: of its attentions.
    where: the file, for errors.

  Raises:
    UserError: names or shapes of another model.
  """
  renamed, unknown = {}, []
  for name, array in arrays.items():
    found = _find(name, 0)
    if found is None:
      unknown.append(name)
      continue
    layer, (_, ours, there, here) = found
    sizes = {'h': heads} if 'h' in there else {}
    try:
      array = einops.rearrange(array, f'{there} -> {here}', **sizes)
    except einops.EinopsError:
      raise UserError(
        f'{where}: {name} has shape {array.shape}, which is not of a ViT with '
        f'{heads} attention heads.'
      ) from None
    renamed[ours.replace('#', str(layer))] = array
  if unknown:
    raise UserError(
      f'{where} has {len(unknown)} arrays that are of no ViT known here: '
      f'{", ".join(unknown[:5])}{" ..." if len(unknown) > 5 else ""}.'
    )
  return renamed


def to_theirs(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Undoes `to_ours`.

  Raises:
    UserError: an array that has no name there.
  """
  renamed = {}
  for name, array in arrays.items():
    found = _find(name, 1)
    if found is None:
      raise UserError(f'{name} has no name in a Hugging Face ViViT.')
    layer, (theirs, _, there, here) = found
    array = einops.rearrange(np.asarray(array), f'{here} -> {there}')
    renamed[theirs.replace('#', str(layer))] = np.ascontiguousarray(array)
  return renamed


def from_timm(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Gives a timm ViT's arrays Hugging Face's names; q, k and v come apart."""
  renamed = {}
  for name, array in arrays.items():
    qkv = re.fullmatch(r'blocks\.(\d+)\.attn\.qkv\.(weight|bias)', name)
    if qkv:
      for part, piece in zip(('query', 'key', 'value'), np.split(array, 3)):
        layer = f'encoder.layer.{qkv[1]}.attention.attention'
        renamed[f'{layer}.{part}.{qkv[2]}'] = piece
      continue
    for timm, theirs in _TIMM.items():
      pattern = re.escape(timm).replace(r'\#', '#').replace('#', r'(\d+)')
      match = re.fullmatch(rf'{pattern}(\.weight|\.bias|)', name)
      if match:
        layer = match[1] if '#' in timm else ''
        renamed[theirs.replace('#', layer) + match[match.lastindex]] = array
        break
    else:
      renamed[name] = array  # unknown: `to_ours` will name it
  return renamed

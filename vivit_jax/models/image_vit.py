"""Image ViTs: their files, in the names that ViT-like families start from.

An image ViT has ViViT Model 1's parameter names here, and a patch kernel
[p, q, C, D]. Read are the npz files of vision_transformer and big_vision,
safetensors of timm, and Hugging Face's folders.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import torch_names
from vivit_jax.models.family import Import
from vivit_jax.models.weights import IMAGE_VIT, File, Weights

POSITIONS = 'posembed_input/pos_embedding'
_POSITIONS = f'Transformer/{POSITIONS}'
_BLOCK = re.compile(r'(\w*Transformer)/encoderblock_(\d+)/')
_TANH_GELUS = ('gelu_fast', 'gelu_new', 'gelu_pytorch_tanh')
_PREFIXES = ('opt/target/', 'params/')
# (pattern of a name in npz, our name); the first match counts.
_RULES = (
  (r'(Transformer/encoderblock_\d+/)LayerNorm_2/(.+)', r'\1LayerNorm_1/\2'),
  (
    r'(Transformer/encoderblock_\d+/MultiHeadDotProductAttention)_\d/(.+)',
    r'\1_0/\2',
  ),
  (r'(Transformer/encoderblock_\d+/MlpBlock)_\d/(.+)', r'\1_0/\2'),
  (r'pos_embedding', _POSITIONS),
  (r'head/(kernel|bias)', r'output_projection/\1'),
  (r'((?:embedding|Transformer|cls|pre_logits|MAPHead_0)(?:/.+)?)', r'\1'),
)


def read_npz(file: File) -> Weights:
  """Reads either naming, with or without a prefix, stacked layers or not."""
  arrays = file.load()
  for prefix in _PREFIXES:
    if any(name.startswith(prefix) for name in arrays):
      arrays = {
        name[len(prefix) :]: array
        for name, array in arrays.items()
        if name.startswith(prefix)
      }
  if 'embedding/kernel' not in arrays:
    raise UserError(
      f'{file.path} is an npz, but no ViT: it has no embedding/kernel; it has '
      f'{", ".join(list(arrays)[:5])}.'
    )
  naming = 'big_vision' if 'pos_embedding' in arrays else 'vision_transformer'
  arrays = _renamed(_unstacked(arrays), file)
  if 'cls' in arrays and naming == 'big_vision':
    # There, the class token's position is part of the token itself.
    positions = arrays[_POSITIONS]
    nothing = np.zeros_like(positions[:, :1])
    arrays[_POSITIONS] = np.concatenate([nothing, positions], axis=1)
  return checked(
    Weights(f'image ViT npz ({naming})', arrays, (IMAGE_VIT,)), file
  )


def _unstacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Splits `Transformer/encoderblock/...` [L, ...] into layers."""
  split = {}
  for name, array in arrays.items():
    match = re.fullmatch(r'Transformer/encoderblock/(.+)', name)
    if not match:
      split[name] = array
      continue
    for layer, part in enumerate(array):
      split[f'Transformer/encoderblock_{layer}/{match[1]}'] = part
  return split


def _renamed(
  arrays: dict[str, np.ndarray], file: File
) -> dict[str, np.ndarray]:
  renamed = {}
  for name, array in arrays.items():
    for pattern, ours in _RULES:
      if match := re.fullmatch(pattern, name):
        renamed[match.expand(ours)] = array
        break
    else:
      raise UserError(f'{file.path} has an array {name}, which is of no ViT.')
  return renamed


def read_timm(file: File) -> Weights:
  """Reads timm's naming, where q, k and v are stacked in one array."""
  arrays = file.load()
  shape = arrays['blocks.0.attn.qkv.weight'].shape
  if len(shape) != 2:
    raise damaged(file.path, f'blocks.0.attn.qkv.weight has shape {shape}')
  # Their number is not in the file: of 64 each, but in ViT-H.
  heads = 16 if shape[1] == 1280 else max(shape[1] // 64, 1)
  names = torch_names.from_timm(arrays)
  renamed = torch_names.to_ours(names, heads, file.path)
  options = {'gelu': 'exact', 'norm_epsilon': 1e-6}
  return checked(
    Weights('timm ViT safetensors', renamed, (IMAGE_VIT,), options=options),
    file,
  )


def read_hugging_face(file: File) -> Weights:
  """Reads the folder of an image ViT; its pooler is no part of its classifier.

  Raises:
    UserError: another activation than a GELU, or a damaged file.
  """
  weights = hugging_face_arrays(file, 'vit', (IMAGE_VIT,))
  return checked(weights, file)


def hugging_face_arrays(
  file: File, prefix: str, models: tuple[str, ...], **more: Any
) -> Weights:
  """Returns the arrays, labels and options of a Hugging Face ViT or ViViT.

  Args:
    file: safetensors with a config.json beside it.
    prefix: of the backbone's names.
    models, more: as of `Weights`.

  Raises:
    UserError: as of `read_hugging_face`.
  """
  heads = file.config.get('num_attention_heads')
  if type(heads) is not int or heads < 1:
    raise damaged(
      file.path.with_name('config.json'), 'num_attention_heads is absent'
    )
  arrays = {
    name.removeprefix(f'{prefix}.'): array
    for name, array in file.load().items()
  }
  renamed = torch_names.to_ours(arrays, heads, file.path.parent)
  labels = file.config.get('id2label')
  label_names = None
  if isinstance(labels, dict) and 'output_projection/bias' in renamed:
    label_names = {
      'label': [str(labels[key]) for key in sorted(labels, key=_number)]
    }
  return Weights(
    f'Hugging Face {prefix}',
    renamed,
    models,
    label_names,
    options=hugging_face_options(file),
    spare=[name for name in renamed if name.startswith('pooler/')],
    **more,
  )


# Of transformers' own config classes, where a config.json leaves a key out.
_DEFAULTS = {'vit': ('gelu', 1e-12), 'vivit': ('gelu_fast', 1e-6)}


def hugging_face_options(file: File) -> dict[str, Any]:
  """Returns activation and epsilon of a config.json, as options here.

  Raises:
    UserError: an activation that is not a GELU.
  """
  gelu, epsilon = _DEFAULTS[file.config['model_type']]
  activation = file.config.get('hidden_act', gelu)
  if activation not in ('gelu', *_TANH_GELUS):
    raise UserError(
      f"{file.path.parent} has hidden_act '{activation}'; a ViT here has a "
      'GELU.'
    )
  return {
    'gelu': 'exact' if activation == 'gelu' else 'tanh',
    'norm_epsilon': float(file.config.get('layer_norm_eps', epsilon)),
  }


def _number(key: str) -> int:
  return int(key) if re.fullmatch(r'\d+', key) else -1


def has_kernel(file: File) -> bool:
  """Returns whether an npz file may hold a ViT."""
  return any(name.endswith('embedding/kernel') for name in file.names)


IMPORTS = (
  Import(
    'an image ViT in npz',
    lambda file: file.container == 'npz' and has_kernel(file),
    read_npz,
  ),
  Import(
    'a ViT of timm in safetensors',
    lambda file: (
      file.container == 'safetensors'
      and 'blocks.0.attn.qkv.weight' in file.names
    ),
    read_timm,
  ),
  Import(
    "a Hugging Face folder of a ViT (model_type 'vit')",
    lambda file: (
      file.container == 'safetensors' and file.config.get('model_type') == 'vit'
    ),
    read_hugging_face,
  ),
)


def checked(weights: Weights, file: File) -> Weights:
  """Returns the weights, if they have the structure of a ViT or ViViT.

  Raises:
    UserError: the first fault, as of a damaged file.
  """
  fault = weights.fault() or _fault(weights.arrays)
  if fault is not None:
    raise damaged(file.path, fault)
  if IMAGE_VIT in weights.models:
    ndim = weights.arrays['embedding/kernel'].ndim
    if ndim != 4:
      raise damaged(
        file.path, f"an image ViT's embedding/kernel has 4 axes, this {ndim}"
      )
  return weights


def _fault(arrays: Mapping[str, np.ndarray]) -> str | None:
  """Returns the first structural fault, or None."""
  kernel = arrays.get('embedding/kernel')
  if kernel is None:
    return 'it has no embedding/kernel'
  if not any(name.endswith('/query/kernel') for name in arrays):
    return 'it has no attention'
  for pattern, axes, wanted in (
    (r'embedding/kernel', 'tubelet, colours, width', (4, 5)),
    (r'.*/posembed_input/pos_embedding', '1, positions, width', (3,)),
    (r'.*/(query|key|value)/kernel', 'width, heads, width a head', (3,)),
    (r'.*/out/kernel', 'heads, width a head, width', (3,)),
    (r'output_projection/kernel', 'width, classes', (2,)),
    (r'output_projection/bias', 'classes', (1,)),
  ):
    for name, array in arrays.items():
      if re.fullmatch(pattern, name) and array.ndim not in wanted:
        return f'{name} has shape {array.shape}, not [{axes}]'
  for name, array in arrays.items():
    if name.endswith('pos_embedding') and array.shape[2] != kernel.shape[-1]:
      return f'{name} has shape {array.shape}, not of width {kernel.shape[-1]}'
  return _odd_norm(arrays, kernel.shape[-1]) or _odd_block(arrays)


def _odd_norm(arrays: Mapping[str, np.ndarray], width: int) -> str | None:
  """Returns which norm is not of the network's width, or None."""
  for name, array in arrays.items():
    norm = re.search(r'(norm|LayerNorm_\w+)/(scale|bias)$', name)
    if norm and not name.startswith('MAPHead_0/') and array.shape != (width,):
      return f'{name} has shape {array.shape}, not of width {width}'
  return None


def _odd_block(arrays: Mapping[str, np.ndarray]) -> str | None:
  """Returns which block is unlike the others of its encoder, or None.

  What all of them lack is found when they are fitted to a model.
  """
  parts: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {}
  for name, array in arrays.items():
    if match := _BLOCK.match(name):
      blocks = parts.setdefault(match[1], {})
      blocks.setdefault(match[2], {})[name[match.end() :]] = array.shape
  for encoder, blocks in parts.items():
    numbers = {str(number) for number in range(len(blocks))}
    if blocks.keys() != numbers:
      missing = min(numbers - blocks.keys())
      return f'{encoder} has {len(blocks)} blocks, but none of number {missing}'
    for number, block in blocks.items():
      odd = set(block.items()) ^ set(blocks['0'].items())
      if odd:
        return (
          f'{encoder}/encoderblock_{number} is unlike encoderblock_0 in '
          f'{min(odd)[0]}'
        )
  return None


def depths(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns the number of blocks of each encoder."""
  found: dict[str, set[int]] = {}
  for name in arrays:
    if match := _BLOCK.match(name):
      found.setdefault(match[1], set()).add(int(match[2]))
  return {encoder: len(layers) for encoder, layers in sorted(found.items())}


def measure(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns numbers of layers and widths, by the options that set them."""
  found: dict[str, int] = {}
  for name, array in arrays.items():
    if block := _BLOCK.match(name):
      encoder = block[1].removesuffix('Transformer').lower()
      what = f'{encoder}_layers'.removeprefix('_')
      found[what] = max(found.get(what, 0), int(block[2]) + 1)
    if name == 'embedding/kernel':
      found['width'] = array.shape[-1]
    elif name.endswith('/query/kernel') and 'MAPHead' not in name:
      found['attention_heads'] = array.shape[1]
    elif re.search(r'encoderblock_\d+/MlpBlock(_0)?/Dense_0/kernel$', name):
      found['mlp_width'] = array.shape[1]
  return found


def describe(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
  """Returns blocks, widths, tubelet and tokens of a ViT, for people."""
  kernel = arrays['embedding/kernel']
  sizes = measure(arrays)
  positions = [
    f'{array.shape[1]} in {name.split("/")[0]}'
    for name, array in sorted(arrays.items())
    if name.endswith(POSITIONS)
  ]
  return {
    'blocks': ', '.join(f'{n} in {e}' for e, n in depths(arrays).items()),
    'width': f'{kernel.shape[-1]}',
    'attention heads': f'{sizes["attention_heads"]}',
    'patch' if kernel.ndim == 4 else 'tubelet': 'x'.join(
      str(side) for side in kernel.shape[:-2]
    ),
    'tokens': ', '.join(positions) or 'without learned positions',
  }

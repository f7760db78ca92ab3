"""Reads image ViTs, to initialise ViT-like families.

An image ViT has the parameter names of ViViT Model 1 and a patch kernel
[p, q, C, D]. Formats: npz of vision_transformer and big_vision, safetensors of
timm, and Hugging Face folders.
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
# (name pattern in npz, our name); the first match is used.
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
  """Reads npz of vision_transformer or big_vision.

  Names may have a prefix, and layers may be stacked.

  Raises:
    UserError: another model, or a damaged file.
  """
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
      f'{file.path} holds no ViT: embedding/kernel is missing; it has '
      f'{", ".join(list(arrays)[:5])}.'
    )
  naming = 'big_vision' if 'pos_embedding' in arrays else 'vision_transformer'
  arrays = _renamed(_unstacked(arrays), file)
  if 'cls' in arrays and naming == 'big_vision':
    # big_vision's class token includes its position.
    positions = arrays[_POSITIONS]
    zero = np.zeros_like(positions[:, :1])
    arrays[_POSITIONS] = np.concatenate([zero, positions], axis=1)
  return checked(
    Weights(f'image ViT npz ({naming})', arrays, (IMAGE_VIT,)), file
  )


def _unstacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Splits stacked `Transformer/encoderblock/...` [L, ...] into layers."""
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
      raise UserError(f'{file.path} holds no ViT: it has an array {name}.')
  return renamed


def read_timm(file: File) -> Weights:
  """Reads timm's safetensors, which have q, k and v in one array."""
  arrays = file.load()
  shape = arrays['blocks.0.attn.qkv.weight'].shape
  if len(shape) != 2:
    raise damaged(file.path, f'blocks.0.attn.qkv.weight has shape {shape}')
  # The file does not state the number of heads. Their width is 64 in timm's Ti
  # to L, and 80 in H.
  heads = 16 if shape[1] == 1280 else max(shape[1] // 64, 1)
  names = torch_names.from_timm(arrays)
  renamed = torch_names.to_ours(names, heads, file.path)
  options = {'gelu': 'exact', 'norm_epsilon': 1e-6}
  return checked(
    Weights('timm ViT safetensors', renamed, (IMAGE_VIT,), options=options),
    file,
  )


def read_hugging_face(file: File) -> Weights:
  """Reads a Hugging Face image ViT. Its pooler does not affect classification.

  Raises:
    UserError: an activation that is not a GELU, or a damaged file.
  """
  weights = hugging_face_arrays(file, 'vit', (IMAGE_VIT,))
  return checked(weights, file)


def hugging_face_arrays(
  file: File, prefix: str, models: tuple[str, ...], **more: Any
) -> Weights:
  """Returns the arrays, labels and options of a Hugging Face ViT or ViViT.

  Args:
    file: safetensors with a config.json beside it.
    prefix: 'vit' or 'vivit', the prefix of backbone names.
    models, more: fields of `Weights`.

  Raises:
    UserError: see `read_hugging_face`.
  """
  heads = file.config.get('num_attention_heads')
  if type(heads) is not int or heads < 1:
    raise damaged(
      file.path.with_name('config.json'), 'num_attention_heads is missing'
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


# Defaults of transformers' config classes, for keys that config.json omits.
_DEFAULTS = {'vit': ('gelu', 1e-12), 'vivit': ('gelu_fast', 1e-6)}


def hugging_face_options(file: File) -> dict[str, Any]:
  """Returns model options for the activation and epsilon in config.json.

  Raises:
    UserError: an activation that is not a GELU.
  """
  gelu, epsilon = _DEFAULTS[file.config['model_type']]
  activation = file.config.get('hidden_act', gelu)
  if activation not in ('gelu', *_TANH_GELUS):
    raise UserError(
      f"{file.path.parent} has hidden_act '{activation}'; only GELU is "
      'supported.'
    )
  return {
    'gelu': 'exact' if activation == 'gelu' else 'tanh',
    'norm_epsilon': float(file.config.get('layer_norm_eps', epsilon)),
  }


def _number(key: str) -> int:
  return int(key) if re.fullmatch(r'\d+', key) else -1


def has_kernel(file: File) -> bool:
  """Returns whether a file has a patch embedding under this package's name."""
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


# (name pattern, axes); D is the model's width.
_AXES = (
  (r'.*/posembed_input/pos_embedding', ('1', 'positions', 'D')),
  (r'.*/(query|key|value)/kernel', ('inputs', 'heads', 'width per head')),
  (r'.*/out/kernel', ('heads', 'width per head', 'outputs')),
  (r'output_projection/kernel', ('features', 'classes')),
  (r'output_projection/bias', ('classes',)),
  (r'(?!MAPHead_0/).*(norm|LayerNorm_\w+)/(scale|bias)', ('D',)),
)


def checked(weights: Weights, file: File) -> Weights:
  """Returns the weights unchanged if they are structured like a ViT or ViViT.

  Raises:
    UserError: names the first array that does not fit the others.
  """
  if fault := _fault(weights.arrays, IMAGE_VIT in weights.models):
    raise damaged(file.path, fault)
  return weights


def _fault(arrays: Mapping[str, np.ndarray], image: bool) -> str | None:
  """Returns the first error in the arrays' structure, or None."""
  kernel = arrays.get('embedding/kernel')
  if kernel is None:
    return 'it has no embedding/kernel'
  if not any(name.endswith('/query/kernel') for name in arrays):
    return 'it has no attention'
  if kernel.ndim != 4 and (image or kernel.ndim != 5):
    kind = 'patch' if image else 'tubelet'
    return (
      f'embedding/kernel has shape {kernel.shape}, not [{kind}, channels, D]'
    )
  width = kernel.shape[-1]
  for name, array in arrays.items():
    for pattern, axes in _AXES:
      if not re.fullmatch(pattern, name):
        continue
      widths = [n for axis, n in zip(axes, array.shape) if axis == 'D']
      if array.ndim != len(axes) or any(n != width for n in widths):
        return (
          f'{name} has shape {array.shape}, not [{", ".join(axes)}] with '
          f'D = {width}'
        )
  return _odd_block(arrays)


def _odd_block(arrays: Mapping[str, np.ndarray]) -> str | None:
  """Returns the first difference between an encoder's blocks, or None.

  An array that is missing in all blocks is reported by `checkpoints.merge`.
  """
  encoders: dict[str, dict[int, set]] = {}
  for name, array in arrays.items():
    if match := _BLOCK.match(name):
      blocks = encoders.setdefault(match[1], {})
      part = name[match.end() :], array.shape
      blocks.setdefault(int(match[2]), set()).add(part)
  for encoder, blocks in encoders.items():
    for number in sorted({*range(len(blocks)), *blocks}):
      odd = blocks.get(number, set()) ^ blocks.get(0, set())
      if odd:
        return (
          f'{encoder}/encoderblock_{number} differs from encoderblock_0 in '
          f'{min(odd)[0]}'
        )
  return None


def depths(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns the number of blocks of each encoder."""
  blocks: dict[str, set[int]] = {}
  for name in arrays:
    if match := _BLOCK.match(name):
      blocks.setdefault(match[1], set()).add(int(match[2]))
  return {encoder: len(layers) for encoder, layers in sorted(blocks.items())}


def infer_sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns option -> number of layers, heads, width; `Family.infer_sizes`."""
  sizes: dict[str, int] = {}
  for name, array in arrays.items():
    if block := _BLOCK.match(name):
      encoder = block[1].removesuffix('Transformer').lower()
      what = f'{encoder}_layers'.removeprefix('_')
      sizes[what] = max(sizes.get(what, 0), int(block[2]) + 1)
    if name == 'embedding/kernel':
      sizes['width'] = array.shape[-1]
    elif name.endswith('/query/kernel') and 'MAPHead' not in name:
      sizes['attention_heads'] = array.shape[1]
    elif re.search(r'encoderblock_\d+/MlpBlock(_0)?/Dense_0/kernel$', name):
      sizes['mlp_width'] = array.shape[1]
  return sizes


def describe(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
  """Returns blocks, widths, tubelet and tokens; `Family.describe`."""
  kernel = arrays['embedding/kernel']
  sizes = infer_sizes(arrays)
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

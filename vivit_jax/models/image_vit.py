"""Reads image ViTs, to initialise ViT-like families.

An image ViT has the parameter names of ViViT Model 1 and a patch kernel
[p, q, C, D]. Formats: npz of vision_transformer and big_vision, timm's files
(safetensors or torch), and Hugging Face folders.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import classifier, torch_names
from vivit_jax.models.family import Import
from vivit_jax.models.weights import IMAGE_VIT, TORCH, Clip, File, Weights

POSITIONS = 'posembed_input/pos_embedding'
_POSITIONS = f'Transformer/{POSITIONS}'
_BLOCK = re.compile(r'(\w*Transformer)/encoderblock_(\d+)/')
_TANH_GELUS = ('gelu_fast', 'gelu_new', 'gelu_pytorch_tanh')
_PROBLEMS = ('single_label_classification', 'multi_label_classification')
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


# Width -> attention heads of timm's ViTs; their files do not state the heads.
_TIMM_HEADS = {64 * heads: heads for heads in (3, 4, 5, 6, 8, 10, 12, 13, 14)}
_TIMM_HEADS |= {width: 16 for width in (1024, 1152, 1280, 1408, 1664)}
_PRE_LOGITS = torch_names.rows([('pre_logits.fc', 'pre_logits', 'dense')], [])


def read_timm(file: File) -> Weights:
  """Reads timm's ViTs, which have q, k and v in one array.

  Raises:
    UserError: unknown attention heads, or a damaged file.
  """
  arrays = file.load()
  width = arrays['blocks.0.attn.qkv.weight'].shape[-1]
  heads = _TIMM_HEADS.get(width) or torch_names.stated_heads(file)
  if heads is None:
    raise UserError(
      f'{file.path} has width {width}, which no known ViT of timm has, and '
      'does not state its attention heads: write {"num_heads": N} to a '
      'config.json beside it.'
    )
  arrays = torch_names.from_timm(arrays)
  pre_logits = {n: arrays.pop(n) for n in [*arrays] if 'pre_logits' in n}
  arrays = torch_names.to_ours(arrays, heads, file.path)
  arrays |= torch_names.to_ours(pre_logits, heads, file.path, _PRE_LOGITS)
  options = {'gelu': 'exact', 'norm_epsilon': 1e-6}
  return checked(
    Weights(f'timm ViT, {file.title}', arrays, (IMAGE_VIT,), options=options),
    file,
  )


# Defaults of transformers' config classes, for keys that config.json omits.
_DEFAULTS = {
  'vit': ('gelu', 1e-12),
  'vivit': ('gelu_fast', 1e-6),
  'timesformer': ('gelu', 1e-6),
  'vjepa2': ('gelu', 1e-6),
  'videomae': ('gelu', 1e-12),
}


def read_hugging_face(
  file: File, models: tuple[str, ...] = (IMAGE_VIT,), **more: Any
) -> Weights:
  """Reads a Hugging Face ViT, ViViT or TimeSformer.

  Poolers do not affect classification.

  Args:
    file: safetensors or torch, with a config.json beside it.
    models, more: fields of `Weights`.

  Raises:
    UserError: an activation that is not a GELU, or a damaged file.
  """
  kind = file.config['model_type']
  heads = file.config.get('num_attention_heads')
  if type(heads) is not int or heads < 1:
    raise damaged(
      file.path.with_name('config.json'), 'num_attention_heads is missing'
    )
  arrays = {
    name.removeprefix(f'{kind}.'): array for name, array in file.load().items()
  }
  arrays = torch_names.from_memory(arrays)
  arrays = torch_names.to_ours(arrays, heads, file.path.parent)
  weights = Weights(
    f'Hugging Face {kind}',
    arrays,
    models,
    **hugging_face_labels(file, arrays),
    options=hugging_face_options(file),
    spare=[name for name in arrays if name.startswith('pooler/')],
    **more,
  )
  return checked(weights, file)


def hugging_face_labels(
  file: File, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """Returns `label_names` and `multi_label` of `Weights`, from config.json."""
  names = _class_names(file) if f'{classifier.HEAD}/bias' in arrays else []
  several = file.config.get('problem_type') == _PROBLEMS[True]
  return {
    'label_names': {'label': names} if names else None,
    'multi_label': ['label'] if several else [],
  }


def _class_names(file: File) -> list[str]:
  """Returns the names in config.json by output; [] if it has none."""
  labels = file.config.get('id2label') or {}
  known = isinstance(labels, dict)
  keys = [str(number) for number in range(len(labels))] if known else []
  if not known or {*labels} != {*keys}:
    raise damaged(
      file.path.with_name('config.json'),
      'id2label does not map the numbers from 0 to names',
    )
  return [str(labels[key]) for key in keys]


def hugging_face_options(file: File) -> dict[str, Any]:
  """Returns model options for the activation and epsilon in config.json.

  Raises:
    UserError: an activation that is not a GELU, or a damaged config.json.
  """
  gelu, epsilon = _DEFAULTS[file.config['model_type']]
  activation = file.config.get('hidden_act', gelu)
  if activation not in ('gelu', *_TANH_GELUS):
    raise UserError(
      f"{file.path.parent} has hidden_act '{activation}'; only GELU is "
      'supported.'
    )
  epsilon = file.config.get('layer_norm_eps', epsilon)
  if type(epsilon) not in (int, float):
    raise damaged(
      file.path.with_name('config.json'), f'layer_norm_eps is {epsilon!r}'
    )
  return {
    'gelu': 'exact' if activation == 'gelu' else 'tanh',
    'norm_epsilon': float(epsilon),
  }


def is_timm(file: File) -> bool:
  """Returns whether the names are those of timm's ViT, and of no video model.

  TimeSformer's space-only model differs by the prefix of its trainer alone.
  """
  video = re.compile(
    r'time_embed|(aggregate|backbone)\.|(.*\.)?temporal_|.*\.attn\..*pool_'
  )
  return (
    file.container in TORCH
    and {'blocks.0.attn.qkv.weight', 'pos_embed'} <= {*file.names}
    and 'blocks.0.attn.q_bias' not in file.names
    and not file.prefix.endswith('model.')
    and not any(video.match(name) for name in file.names)
  )


def hugging_face_config(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns the keys of config.json that ViViT and TimeSformer share."""
  widths = infer_sizes(weights.arrays)
  classes = classifier.classes_of(weights.arrays)
  labels = [f'LABEL_{number}' for number in range(classes)]
  for names in (weights.label_names or {}).values():
    labels = list(names)
  return {
    'hidden_size': widths['width'],
    'intermediate_size': widths['mlp_width'],
    'image_size': clip.crop[0],
    'layer_norm_eps': weights.options.get('norm_epsilon', 1e-6),
    'num_attention_heads': widths['attention_heads'],
    'num_channels': 3,
    'num_frames': clip.frames,
    'num_hidden_layers': widths['layers'],
    'qkv_bias': True,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'problem_type': _PROBLEMS[bool(weights.multi_label)],
    'id2label': {str(n): name for n, name in enumerate(labels)},
    'label2id': {name: n for n, name in enumerate(labels)},
  }


IMPORTS = (
  Import(
    lambda file: (
      file.container == 'npz'
      and any(name.endswith('embedding/kernel') for name in file.names)
    ),
    read_npz,
  ),
  Import(is_timm, read_timm),
  Import(
    lambda file: (
      file.container in TORCH and file.config.get('model_type') == 'vit'
    ),
    read_hugging_face,
  ),
)


# (name pattern, number of axes) of the arrays that are read before a model is
# known. `checkpoints.merge` compares all arrays with the model.
_AXES = (
  (r'.*/pos_embedding|.*/(query|key|value|out)/kernel', 3),
  (r'.*/Dense_\d/kernel|output_projection/kernel', 2),
  (r'output_projection/bias', 1),
)


def checked(weights: Weights, file: File) -> Weights:
  """Returns the weights if they may be those of a ViT or ViViT.

  A note is added if config.json states another number of layers.

  Raises:
    UserError: names the first array that is missing or has other axes.
  """
  arrays = weights.arrays
  kernel = arrays.get('embedding/kernel')
  if kernel is None or kernel.ndim not in (4, 5):
    raise damaged(file.path, 'embedding/kernel is missing, or has other axes')
  if IMAGE_VIT in weights.models and kernel.ndim != 4:
    raise damaged(file.path, f'embedding/kernel has shape {kernel.shape}')
  if not any(name.endswith('/query/kernel') for name in arrays):
    raise damaged(file.path, 'it has no attention')
  for name, array in arrays.items():
    for pattern, axes in _AXES:
      if re.fullmatch(pattern, name) and array.ndim != axes:
        raise damaged(
          file.path, f'{name} has shape {array.shape}, not {axes} axes'
        )
  stated = file.config.get('num_hidden_layers')
  depth = sum(depths(arrays).values())
  if stated in (None, depth):
    return weights
  note = (
    f'config.json states {stated} layers; all {depth} of the file are taken'
  )
  return dataclasses.replace(weights, notes=[*weights.notes, note])


def check_blocks(arrays: Mapping[str, np.ndarray]) -> None:
  """Raises a UserError unless an encoder's blocks have the same arrays.

  For weights that are written to another format without building their model.
  """
  blocks: dict[tuple[str, int], set] = {}
  for name, array in arrays.items():
    if match := _BLOCK.match(name):
      parts = blocks.setdefault((match[1], int(match[2])), set())
      parts.add((name[match.end() :], array.shape))
  depth = depths(arrays)
  for (encoder, number), parts in blocks.items():
    if number >= depth[encoder] or parts != blocks.get((encoder, 0)):
      raise UserError(
        f'the weights are damaged: {encoder}/encoderblock_{number} does not '
        'have the arrays and shapes of encoderblock_0, or blocks are missing.'
      )


def depths(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns the number of blocks of each encoder."""
  blocks: dict[str, set[int]] = {}
  for name in arrays:
    if match := _BLOCK.match(name):
      blocks.setdefault(match[1], set()).add(int(match[2]))
  return {encoder: len(layers) for encoder, layers in sorted(blocks.items())}


def infer_sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Returns option -> number of layers, heads, width; `Family.infer_sizes`."""
  sizes = {
    f'{encoder.removesuffix("Transformer").lower()}_layers'.lstrip('_'): blocks
    for encoder, blocks in depths(arrays).items()
  }
  for name, array in arrays.items():
    if name == 'embedding/kernel':
      sizes['width'] = array.shape[-1]
    elif name.endswith('/query/kernel') and not classifier.is_own(name):
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

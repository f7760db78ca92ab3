"""Reads VideoMAE's files, transformers' and the authors'; writes the former.

The authors' names are changed to transformers' first.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import (
  classifier,
  exports,
  image_vit,
  pools,
  preprocessor,
  sizes,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.pixels import IMAGENET
from vivit_jax.models.videomae import weights as own
from vivit_jax.models.weights import TORCH, Clip, File, Weights

_KIND = 'videomae'  # transformers' model_type
_NAMES = re.compile(
  r'videomae\.embeddings\.'
  r'|(encoder\.)?blocks\.0\.attn\.q_bias$'
  r'|encoder\.layer\.0\.attention\.attention\.q_bias$'
)
_OURS = 'Transformer/encoderblock_#/MultiHeadDotProductAttention_0'
# Of an array with several names, all are read; the last one is written.
_TABLE = [
  *torch_names.ROWS,
  *torch_names.rows([('fc_norm', pools.NORM, 'norm')], []),
  *(
    (
      f'encoder.layer.#.attention.attention.{name[0]}_bias',
      f'{_OURS}/{name}/bias',
      '(h d)',
      'h d',
    )
    for name in ('query', 'value')
  ),
]
_KERNEL = 'embeddings.patch_embeddings.projection.weight'
_DECODER = re.compile(r'decoder\.|encoder_to_decoder\.|mask_token$')
# Width and heads of S in transformers' conversions, which should have 6 heads.
_MISTAKEN = 384, 16
_PROCESSOR = dataclasses.replace(preprocessor.VIDEO_MAE, **IMAGENET)


def read(file: File) -> Weights:
  """Reads a VideoMAE of either version, fine-tuned or pretrained.

  Sizes follow from names and shapes; attention heads, frames and crop from a
  config.json beside the file, else from the width and the releases.

  Raises:
    UserError: another model, or a damaged file.
  """
  nested = file.config.get('model_config')  # of version 2 on the hub
  if isinstance(nested, Mapping):
    file = dataclasses.replace(file, config={**file.config, **nested})
  named, decoder = _named(file)
  kernel = named.get(_KERNEL)
  if kernel is None or kernel.ndim != 5:
    raise damaged(file.path, 'it has no patch kernel of a video')
  heads, notes = _heads(file, len(kernel))
  arrays = torch_names.to_ours(named, heads or 1, file.path, _TABLE)
  arrays, more = _with_biases(arrays, file)
  hub = file.config.get('model_type') == _KIND
  weights = Weights(
    f'VideoMAE{" of a pretraining" if decoder else ""}, {file.title}',
    arrays | decoder,
    (_KIND,),
    **image_vit.hugging_face_labels(file, arrays),
    options=image_vit.hugging_face_options(file)
    if hub
    else {'gelu': 'exact', 'norm_epsilon': 1e-6},
    spare=[*decoder, *(name for name in arrays if name.endswith('/key/bias'))],
    notes=notes + more,
    heads_unknown=heads is None,
  )
  return _with_experiment(image_vit.checked(weights, file), file)


READ = Import(
  lambda file: (
    file.container in TORCH
    and (
      file.config.get('model_type') == _KIND
      or any(map(_NAMES.match, file.names))
    )
  ),
  read,
)


def _named(file: File) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns arrays under transformers' names, and those of the decoder."""
  named, decoder = {}, {}
  for name, array in file.load().items():
    if _DECODER.match(name):
      name = re.sub(r'\.\w+\.(\d+)\.', r'.block_\1/', name)
      decoder[f'{own.DECODER}/{name.removeprefix("decoder.")}'] = array
    else:
      name = name.removeprefix('videomae.')
      named[re.sub(r'^encoder\.(?!layer\.)', '', name)] = array
  named = torch_names.from_timm(named)
  for name in [*named]:
    # transformers has read q_bias as zeros into the new name, and written both.
    old = re.sub(r'\.(query|value)\.bias$', lambda x: f'.{x[1][0]}_bias', name)
    if old != name and old in named:
      del named[name]
  return named, decoder


def _heads(file: File, width: int) -> tuple[int | None, list[str]]:
  """Returns the attention heads, None if unknown, and notes."""
  stated = torch_names.stated_heads(file)
  if (width, stated) == _MISTAKEN:
    return own.SIZES['S'].attention_heads, [
      "config.json states 16 attention heads; the authors' network of width "
      '384 has 6, which are taken'
    ]
  known = own.SIZES.values()
  return torch_names.heads_of(file, width, known=known), []


def _with_biases(
  arrays: dict[str, np.ndarray], file: File
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Returns the arrays with biases of queries and values, and notes.

  Raises:
    UserError: a bias is missing, but config.json does not state qkv_bias false.
  """
  absent = False in (file.config.get(key) for key in ('qkv_bias', 'qv_bias'))
  biases = {}
  for name, kernel in arrays.items():
    if re.search('/(query|value)/kernel$', name):
      bias = name.replace('kernel', 'bias')
      if bias not in arrays and not absent:
        raise damaged(file.path, f'{bias} is missing, also as q_bias or v_bias')
      biases[bias] = arrays.get(bias, np.zeros(kernel.shape[1:], np.float32))
  zero = not any(bias.any() for bias in biases.values())
  note = (
    'all biases of queries and values are zero; some versions of transformers '
    '5 wrote zeros by mistake: compare with the original file'
  )
  return arrays | biases, [note] if zero and not absent else []


def _with_experiment(weights: Weights, file: File) -> Weights:
  """Returns weights with their config, or why there is none; and notes."""
  if weights.heads_unknown:
    obstacle = torch_names.heads_obstacle(file)
    return dataclasses.replace(weights, obstacle=obstacle)
  side = torch_names.stated(file, 'image_size')
  side = side or torch_names.stated(file, 'img_size') or 224
  data = own.DATA | {
    'frames': torch_names.stated(file, 'num_frames') or 16,
    'crop': (side, side),
  }
  try:
    data |= preprocessor.read(file.preprocessor, side, _PROCESSOR)
  except UserError as error:
    where = file.path.with_name(preprocessor.NAME)
    return dataclasses.replace(weights, obstacle=f'{where}: {error}')
  notes = [*weights.notes]
  if file.config.get('model_type') == _KIND:
    notes += preprocessor.notes(file.preprocessor, _PROCESSOR)
  classes = classifier.classes_of(weights.arrays)
  if classes == classifier.SSV2_CLASSES:
    data['sampling'], views = 'segments', 2
    notes.append(classifier.SSV2_NOTE)
  else:
    data |= {'sampling': 'clip', 'stride': 4}
    views = 5
    notes.append(
      'clips of every 4th frame are assumed, as in the releases for Kinetics: '
      'for another step, set data.stride in a --config=FILE'
    )
  if classes and not pools.has_norm(weights.arrays):
    notes.append(
      'the mean of the tokens is taken; transformers reads the first token if '
      'use_mean_pooling is false'
    )
  evaluation = {
    'temporal_views': views,
    'spatial_crops': 3,
    'average': 'probabilities',
  }
  experiment = {
    'model': _model(weights),
    'data': data,
    'evaluation': evaluation,
  }
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


def _model(weights: Weights) -> dict[str, Any]:
  """Returns config section `model`; sizes are those of the arrays."""
  arrays, widths = weights.arrays, image_vit.infer_sizes(weights.arrays)
  size, options = sizes.named_by(widths, own.SIZES)
  options |= {
    'tubelet': arrays['embedding/kernel'].shape[:3],
    'layers': widths['layers'],
    'final_norm': f'{own.NORM}/scale' in arrays,
    **weights.options,
  }
  pool = 'mean_norm' if pools.has_norm(arrays) else 'mean'
  return {'family': _KIND, 'size': size, 'pool': pool, 'options': options}


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors' and JSON files for a Hugging Face folder.

  See `Family.exports`.

  Raises:
    UserError: a model that `VideoMAEForVideoClassification` does not support.
  """
  arrays = {
    name: array
    for name, array in weights.arrays.items()
    if name not in weights.spare
  }
  image_vit.check_blocks(arrays)
  tubelet = arrays['embedding/kernel'].shape[:3]
  exports.refuse(
    'Hugging Face supports fine-tuned VideoMAEs with square crops and patches '
    'and one head',
    {
      'has a norm of the tokens': f'{own.NORM}/scale' in arrays,
      'does not norm the mean': not pools.has_norm(arrays),
    },
    exports.from_squares(weights, clip),
    exports.from_one_linear_head(weights),
  )
  exact = weights.options.get('gelu', 'exact') == 'exact'
  return {
    'tensors': {
      re.sub(r'^(?=embeddings\.|encoder\.)', 'videomae.', name): tensor
      for name, tensor in torch_names.to_theirs(arrays, _TABLE).items()
    },
    'config.json': {
      'architectures': ['VideoMAEForVideoClassification'],
      'model_type': _KIND,
      'hidden_act': 'gelu' if exact else 'gelu_pytorch_tanh',
      'patch_size': tubelet[1],
      'tubelet_size': tubelet[0],
      'use_mean_pooling': True,
      **image_vit.hugging_face_config(weights, clip),
    },
    preprocessor.NAME: preprocessor.write(clip, _PROCESSOR),
  }

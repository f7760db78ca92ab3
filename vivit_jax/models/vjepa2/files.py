"""Reads V-JEPA 2's files, transformers' and the authors'; writes the former.

The authors' names are changed to transformers' first.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import (
  attention_pools,
  classifier,
  exports,
  image_vit,
  preprocessor,
  sizes,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.pixels import IMAGENET
from vivit_jax.models.vjepa2 import names
from vivit_jax.models.vjepa2 import weights as own
from vivit_jax.models.weights import TORCH, Clip, File, Weights

_KIND = 'vjepa2'  # transformers' model_type
_PROCESSOR = dataclasses.replace(
  preprocessor.VIDEO_MAE, names=('VJEPA2VideoProcessor',), **IMAGENET
)
# Classes -> temporal views of the published score: Something-Something v2,
# Kinetics-400, Diving48.
_VIEWS = {174: 2, 400: 8, 48: 4}
_PREDICTOR_HEADS = 12  # in all releases; no array shows them


def _matches(file: File) -> bool:
  if file.container not in TORCH or not file.names:
    return False
  return (
    file.config.get('model_type') == _KIND
    or any(name.startswith('vjepa2.') for name in file.names)
    or any(map(names.VERSION_2_1.match, file.names))
    or all(map(names.AUTHORS.fullmatch, file.names))
  )


def read(file: File) -> Weights:
  """Reads a V-JEPA 2: an encoder, alone or with the pool and head of a probe.

  Sizes follow from names and shapes; attention heads, frames and crop from a
  config.json beside the file, else from the width and the releases.

  Raises:
    UserError: another model, such as V-JEPA 2.1, or a damaged file.
  """
  newer = next(filter(names.VERSION_2_1.match, file.names), None)
  if newer:
    raise UserError(
      f'{file.path} is a V-JEPA 2.1 (it has {newer}), which is not supported: '
      'get a V-JEPA 2.'
    )
  named, predictor = names.to_transformers(file)
  kernel = named.get('encoder.embeddings.patch_embeddings.proj.weight')
  if kernel is None and 'pooler.query_tokens' in named:
    raise UserError(
      f'{file.path} has the pool and head of a probe, and no encoder: join '
      'both (docs/pretrained.md), or get a folder of transformers.'
    )
  if kernel is None or kernel.ndim != 5:
    raise damaged(file.path, 'it has no patch kernel of a video')
  heads, pool_heads = _heads(file, len(kernel))
  pool = {n: named.pop(n) for n in [*named] if n.startswith('pooler.')}
  if pool and 'pooler.query_tokens' not in pool:
    raise damaged(file.path, 'pooler.query_tokens is missing')
  arrays = torch_names.to_ours(named, heads or 1, file.path, names.TABLE)
  arrays |= torch_names.to_ours(pool, pool_heads, file.path, names.POOL_TABLE)
  hub = file.config.get('model_type') == _KIND
  weights = Weights(
    f'V-JEPA 2, {file.title}',
    arrays | predictor,
    (_KIND,),
    **image_vit.hugging_face_labels(file, arrays),
    options=image_vit.hugging_face_options(file)
    if hub
    else {'gelu': 'exact', 'norm_epsilon': 1e-6},
    spare=[*predictor, *({own.FIXED_POSITIONS} & {*arrays})],
    heads_unknown=heads is None,
  )
  return _with_experiment(image_vit.checked(weights, file), file, pool_heads)


READ = Import(_matches, read)


def _heads(file: File, width: int) -> tuple[int | None, int]:
  """Returns the attention heads, None if unknown, and those of the pool."""
  heads = torch_names.heads_of(file, width, known=own.SIZES.values())
  pool = own.POOL.heads
  return heads, pool if width % pool == 0 else heads or 1


def _with_experiment(weights: Weights, file: File, pool_heads: int) -> Weights:
  """Returns weights with their config, or why there is none; and notes."""
  if weights.heads_unknown:
    obstacle = torch_names.heads_obstacle(file)
    return dataclasses.replace(weights, obstacle=obstacle)
  side = torch_names.stated(file, 'crop_size') or own.DATA['crop'][0]
  frames = torch_names.stated(file, 'frames_per_clip') or own.DATA['frames']
  processor = dataclasses.replace(_PROCESSOR, short_side=own.short_side(side))
  data = own.DATA | {'frames': frames, 'crop': (side, side)}
  try:
    data |= preprocessor.read(file.preprocessor, side, processor)
  except UserError as error:
    where = file.path.with_name(f'video_{preprocessor.NAME}')
    return dataclasses.replace(weights, obstacle=f'{where}: {error}')
  stride = 4 if frames == 16 else 2
  data |= {'sampling': 'clip', 'stride': stride, 'short_videos': 'hold'}
  notes = [
    *weights.notes,
    f'a step of {stride} between frames is assumed, as in the releases for '
    f'clips of {frames}: for another, set data.stride in a --config=FILE',
  ]
  if 'crop_size' not in file.config:
    notes.append(
      f'clips of {frames} frames of {side} x {side} pixels are assumed: see '
      'data.frames and data.crop'
    )
  if file.config.get('model_type') == _KIND:
    notes += preprocessor.notes(file.preprocessor, processor)
  classes = classifier.classes_of(weights.arrays)
  width = weights.arrays['embedding/kernel'].shape[-1]
  options = dict(weights.options)
  if classes in own.OF_SEVERAL_BLOCKS and width in own.FEATURES_OF:
    options['features_of'] = own.FEATURES_OF[width]
    notes.append(
      f'the {classes} classes are taken for those of '
      f'{own.OF_SEVERAL_BLOCKS[classes]}, whose probe reads the blocks '
      f'{own.FEATURES_OF[width]}; transformers reads the last one: set '
      'model.options.features_of=() for its logits'
    )
  model = _model(weights, options, pool_heads)
  if attention_pools.is_attention_pool(weights.arrays):
    notes.append(
      f'the pool has {pool_heads} heads and an epsilon of '
      f"{own.POOL.epsilon:g}, the authors' values; transformers has the "
      "encoder's heads and 1e-6: set model.attention_pool.heads and epsilon "
      'for its logits'
    )
    notes.append(
      'the views of a video are scored apart; in the published scores, its '
      'clips are pooled together: set model.clips, data.clips and data.frames'
    )
  evaluation = {
    'temporal_views': _VIEWS.get(classes, 4),
    'views_from': 'start',
    'spatial_crops': 1,
    'average': 'probabilities',
  }
  experiment = {'model': model, 'data': data, 'evaluation': evaluation}
  return dataclasses.replace(
    weights, options=options, experiment=experiment, notes=notes
  )


def _model(
  weights: Weights, options: Mapping[str, Any], pool_heads: int
) -> dict[str, Any]:
  """Returns config section `model`; sizes are those of the arrays."""
  arrays, widths = weights.arrays, image_vit.infer_sizes(weights.arrays)
  size, own_widths = sizes.named_by(widths, own.SIZES)
  pool, pooled = own.POOL, attention_pools.is_attention_pool(arrays)
  if pooled:
    pool = dataclasses.replace(
      pool, heads=pool_heads, blocks=_pool_blocks(arrays)
    )
  return {
    'family': _KIND,
    'size': size,
    'pool': 'attention' if pooled else 'mean',
    'attention_pool': dataclasses.asdict(pool),
    'options': own_widths
    | {
      'tubelet': arrays['embedding/kernel'].shape[:3],
      'layers': widths['layers'],
      **options,
    },
  }


def _pool_blocks(arrays: Mapping[str, np.ndarray]) -> int:
  """Returns the number of self-attention blocks of the pool."""
  first = rf'{attention_pools.NAME}/block_\d+/LayerNorm_0/scale'
  return sum(bool(re.fullmatch(first, name)) for name in arrays)


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors', JSON files and 'notes' for a Hugging Face folder.

  See `Family.exports`.

  Raises:
    UserError: a model that `VJEPA2ForVideoClassification` does not support.
  """
  arrays = {n: x for n, x in weights.arrays.items() if n not in weights.spare}
  predictor = {
    name.replace('/', '.', 1): array
    for name, array in weights.arrays.items()
    if name.startswith(f'{own.PREDICTOR}/')
  }
  image_vit.check_blocks(arrays)
  own_pool = {
    f'{attention_pools.NAME}/{name}'
    for name in ('probe', 'MlpBlock_0/Dense_0/kernel')
  }
  exports.refuse(
    'Hugging Face supports V-JEPA 2 with its attentive pool, square crops and '
    'patches and one head',
    exports.from_squares(weights, clip),
    exports.from_one_linear_head(weights, attention_pool=True),
    {'has another pool': not own_pool <= {*arrays}},
  )
  tensors = torch_names.to_theirs(arrays, [*names.TABLE, *names.POOL_TABLE])
  notes = [
    "transformers has an epsilon of 1e-6 and the encoder's heads in the pool, "
    'and pools the last block: where this model has others, logits will differ'
  ]
  if not predictor:
    notes.append('transformers will report that the predictor is missing')
  pixels = preprocessor.write(clip, _PROCESSOR)
  pixels['video_processor_type'] = pixels.pop('image_processor_type')
  return {
    'tensors': {
      re.sub(r'^(?=encoder\.|predictor\.)', 'vjepa2.', name): tensor
      for name, tensor in (tensors | predictor).items()
    },
    'config.json': _config(weights, arrays, predictor, clip),
    f'video_{preprocessor.NAME}': pixels,
    'notes': notes,
  }


def _config(
  weights: Weights,
  arrays: Mapping[str, np.ndarray],
  predictor: Mapping[str, np.ndarray],
  clip: Clip,
) -> dict[str, Any]:
  """Returns config.json."""
  config = image_vit.hugging_face_config(weights, clip)
  width, mlp = config['hidden_size'], config.pop('intermediate_size')
  ratio = mlp / width
  if int(width * ratio) < mlp:  # transformers rounds down
    ratio = math.nextafter(ratio, math.inf)
  for key in ('image_size', 'num_channels', 'num_frames'):
    del config[key]
  exact = weights.options.get('gelu', 'exact') == 'exact'
  config |= {
    'architectures': ['VJEPA2ForVideoClassification'],
    'model_type': _KIND,
    'crop_size': clip.crop[0],
    'frames_per_clip': clip.frames,
    'hidden_act': 'gelu' if exact else 'gelu_pytorch_tanh',
    'mlp_ratio': ratio,
    'num_pooler_layers': _pool_blocks(arrays),
    'patch_size': arrays['embedding/kernel'].shape[1],
    'tubelet_size': arrays['embedding/kernel'].shape[0],
  }
  tokens = predictor.get('predictor.embeddings.mask_tokens')
  hidden = predictor.get('predictor.layer.0.mlp.fc1.bias')
  if tokens is not None and hidden is not None:
    side = tokens.shape[-1]
    first = r'predictor\.layer\.\d+\.norm1\.weight'
    config |= {
      'pred_hidden_size': side,
      'pred_num_mask_tokens': len(tokens),
      'pred_num_attention_heads': 1
      if side % _PREDICTOR_HEADS
      else _PREDICTOR_HEADS,
      'pred_num_hidden_layers': sum(
        bool(re.fullmatch(first, name)) for name in predictor
      ),
      'pred_mlp_ratio': len(hidden) / side,
    }
  return config

"""Reads VideoPrism's files, the authors' and transformers'; writes the former.

Both hold the scale of a layer norm less 1. It is increased in float64, so that
writing gives the same bits.
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
  sizes,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.videoprism import names
from vivit_jax.models.videoprism import weights as own
from vivit_jax.models.weights import TORCH, Clip, File, Weights

_FAMILY = 'videoprism'
_PREFIX = '^(params/)?((vision_)?encoder/)?'


def read_npz(file: File) -> Weights:
  """Reads the authors' npz: encoder, classifier or video-text model.

  Layers may be stacked. Sizes follow from names and shapes.

  Raises:
    UserError: another model, or a damaged file.
  """
  named, text = {}, {}
  for name, array in file.load().items():
    name = re.sub(_PREFIX, '', name)
    name = re.sub('^(atten|contrastive_vision)_pooler/', 'pooler/', name)
    if name.startswith(f'{own.TEXT}/'):
      text[name] = array
    elif f'{names.STACK}/' in name:
      if array.ndim < 2:
        raise damaged(
          file.path, f'{name} has shape {array.shape}, not of stacked layers'
        )
      for layer, part in enumerate(array):
        named[name.replace(names.STACK, f'{names.STACK}_{layer}', 1)] = part
    else:
      named[name] = array
  kernel = named.get(names.KERNEL)
  query = named.get(f'spatial_encoder/{names.STACK}_0/self_attention/query/w')
  if query is None or query.ndim != 3:
    raise damaged(file.path, 'the first spatial layer has no query/w of 3 axes')
  rows = kernel.shape[0] if kernel is not None and kernel.ndim == 2 else -1
  patch = math.isqrt(max(rows, 0) // 3)
  if 3 * patch**2 != rows:
    raise damaged(
      file.path, f'{names.KERNEL} is missing or not of square patches'
    )
  named[names.KERNEL] = kernel.reshape(1, patch, patch, 3, -1)
  arrays = torch_names.to_ours(named, query.shape[1], file.path, names.OFFICIAL)
  unit = any('contrastive_vision_pooler/' in name for name in file.names)
  return _weights(file, 'npz of the authors', arrays, text, unit)


def read_transformers(file: File) -> Weights:
  """Reads transformers' VideoPrism: vision, video, classification or whole.

  Raises:
    UserError: a model that this package cannot build, or a damaged file.
  """
  nested = file.config.get('vision_config')
  if isinstance(nested, Mapping):
    file = dataclasses.replace(file, config={**file.config, **nested})
  config = file.config
  heads = torch_names.stated_heads(file)
  if heads is None:
    where = file.path.with_name('config.json')
    raise damaged(where, 'num_attention_heads is missing')
  for key, known in (
    ('hidden_act', ('gelu_python', 'gelu')),
    ('layer_norm_eps', (1e-6,)),
  ):
    if config.get(key, known[0]) not in known:
      raise UserError(
        f'{file.path.parent} has {key} {config[key]!r}; VideoPrism is '
        f'supported with {known[0]!r}.'
      )
  named, text = {}, {}
  for name, array in file.load().items():
    if name.endswith('.position_ids'):  # a buffer
      continue
    if name.startswith('text_model.'):
      text[f'{own.TEXT}/{name}'] = array
    else:
      name = re.sub(r'^(video_model\.)?(vision_model\.)?', '', name)
      named[name] = array
  arrays = torch_names.to_ours(named, heads, file.path, names.TRANSFORMERS)
  has_head = classifier.classes_of(arrays) is not None
  unit = not has_head and config.get('apply_l2norm', True) is not False
  return _weights(file, file.title, arrays, text, unit)


IMPORTS = (
  Import(
    lambda file: (
      file.container == 'npz'
      and any(name.endswith(names.KERNEL) for name in file.names)
    ),
    read_npz,
  ),
  Import(
    lambda file: (
      file.container in TORCH
      and str(file.config.get('model_type')).startswith(_FAMILY)
    ),
    read_transformers,
  ),
)


def _weights(
  file: File, title: str, arrays: dict, text: dict, unit: bool
) -> Weights:
  """Returns weights, with true scales and the config that follows from them.

  Args:
    file: of the arrays.
    title: of the format.
    arrays: under our names, but with scales less 1.
    text: of the text tower.
    unit: whether the pool, if there is one, gives embeddings of length 1.
  """
  weights = Weights(
    f'VideoPrism, {title}',
    _shifted(arrays, 1) | text,
    (_FAMILY,),
    **image_vit.hugging_face_labels(file, arrays),
    options={'cap': file.config.get('attn_logit_softcapping', own.CAP)},
    spare=[*text],
  )
  image_vit.checked(weights, file)
  table = own.table_of(arrays)
  if table is None:
    obstacle = (
      f'{file.path} lacks a position table, or the spatial one is no square: '
      'set model.options.table in a --config=FILE of its model.'
    )
    return dataclasses.replace(weights, obstacle=obstacle)
  notes = []
  if unit and attention_pools.is_attention_pool(arrays):
    notes.append(
      'the video half of a video-text model, without its text tower: features '
      'are its embeddings of videos, of length 1'
    )
  experiment = _experiment(weights, table, unit)
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


def _shifted(arrays: Mapping[str, np.ndarray], by: int) -> dict:
  """Returns arrays whose layer norms' scales are increased, in float64."""
  return {
    name: x.astype(np.float64) + by if name.endswith('/scale') else x
    for name, x in arrays.items()
  }


def _experiment(weights: Weights, table: tuple, unit: bool) -> dict[str, Any]:
  """Returns config sections; sizes are those of the arrays."""
  arrays = weights.arrays
  found = image_vit.infer_sizes(arrays)
  patch = arrays['embedding/kernel'].shape[1]
  size, options = sizes.named_by(found, own.SIZES)
  options |= {
    f'{x}_layers': found.get(f'{x}_layers', 0) for x in names.ENCODERS
  }
  options |= {'patch': patch, 'table': table, **weights.options}
  model = {'family': _FAMILY, 'size': size, 'options': options, 'pool': 'mean'}
  if attention_pools.is_attention_pool(arrays):
    query = arrays[f'{names.POOL}/{names.ATTENTION}/query/bias']
    model['pool'] = 'attention'
    model['attention_pool'] = {
      'form': 'videoprism',
      'widening': max(1, query.size // found['width']),
      'unit': unit,
    }
  crop = table[1] * patch, table[2] * patch
  data = {'frames': table[0], 'crop': crop, 'short_side': crop[0]}
  evaluation = {'temporal_views': 1, 'spatial_crops': 1}
  data = own.DATA | data
  return {'model': model, 'data': data, 'evaluation': evaluation}


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'arrays' of the authors' npz; see `Family.exports`.

  Raises:
    UserError: neither an encoder nor a classifier of the authors.
  """
  del clip  # nothing in the file depends on it
  arrays = weights.arrays
  image_vit.check_blocks(arrays)
  head = classifier.classes_of(arrays) is not None
  query = arrays.get(f'{names.POOL}/{names.ATTENTION}/query/bias')
  width = arrays['embedding/kernel'].shape[-1]
  model = (weights.experiment or {}).get('model', {})
  pool = model.get('attention_pool', {})
  exports.refuse(
    "VideoPrism's authors have encoders, and classifiers with one head and "
    'their attention pool',
    {
      'has a head, but no such pool': head and query is None,
      'has a pool, but no head': query is not None and not head,
      'has another pool': query is not None
      and (query.size != width or f'{names.POOL}/per_dim_scale' not in arrays),
      'gives vectors of length 1': bool(pool.get('unit')),
      'has auxiliary layers': (
        'auxiliary_layers' in image_vit.infer_sizes(arrays)
      ),
      'has another cap': weights.options.get('cap', own.CAP) != own.CAP,
    },
    exports.from_one_linear_head(weights, attention_pool=True) if head else {},
  )
  named = torch_names.to_theirs(_shifted(arrays, -1), names.OFFICIAL)
  named[names.KERNEL] = named[names.KERNEL].reshape(-1, width)
  result, stacks = {}, {}
  for name, array in named.items():
    if head and not name.startswith(('pooler/', 'projection/')):
      name = f'encoder/{name}'
    name = re.sub('^pooler/', 'atten_pooler/', name)
    array = np.asarray(array, np.float32)
    if number := re.search(rf'(?<={names.STACK})_(\d+)', name):
      name = name.replace(number[0], '', 1)
      stacks.setdefault(f'params/{name}', {})[int(number[1])] = array
    else:
      result[f'params/{name}'] = array
  for name, layers in stacks.items():
    result[name] = np.stack([layers[number] for number in sorted(layers)])
  return {'arrays': result}

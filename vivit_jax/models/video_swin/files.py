"""Reads Swin's files, official and torchvision's; writes torchvision's."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import (
  classifier,
  exports,
  torch_names,
)
from vivit_jax.models.family import Grid, Import
from vivit_jax.models.video_swin import weights as own
from vivit_jax.models.video_swin.network import relative_index
from vivit_jax.models.weights import TORCH, Clip, File, Weights

_EPSILON = 1e-5
_STAGES = 10  # more than any model has
_LARGEST = 4096  # tokens of a window; more is a damaged file
_V2 = re.compile(r'\.attn\.(logit_scale|cpb_mlp\.)')
_FIRST = 'layers.0.blocks.0.attn.relative_position_bias_table'
# Pattern of an official name, after torchvision's and mmaction2's are changed
# -> in the table below.
_RENAME = (
  (r'layers\.(\d+)\.blocks\.', r'stage\1.blocks.'),
  (r'layers\.(\d+)\.downsample\.', r'merging\1.'),
)
_BLOCK = (
  ('norm1', 'LayerNorm_0', 'norm'),
  ('norm2', 'LayerNorm_1', 'norm'),
  ('attn.query', 'MultiHeadDotProductAttention_0/query', 'split'),
  ('attn.key', 'MultiHeadDotProductAttention_0/key', 'split'),
  ('attn.value', 'MultiHeadDotProductAttention_0/value', 'split'),
  ('attn.proj', 'MultiHeadDotProductAttention_0/out', 'merge'),
  ('mlp.fc1', 'MlpBlock_0/Dense_0', 'dense'),
  ('mlp.fc2', 'MlpBlock_0/Dense_1', 'dense'),
)
_TABLE = torch_names.rows(
  [
    ('patch_embed.proj', 'embedding', 'patches'),
    ('patch_embed.norm', 'embedding_norm', 'norm'),
    ('norm', 'encoder_norm', 'norm'),
    ('head', 'output_projection', 'dense'),
  ]
  + [
    (f'stage{stage}.blocks.#.{theirs}', f'stage{stage}/encoderblock_#/{x}', how)
    for stage in range(_STAGES)
    for theirs, x, how in _BLOCK
  ]
  + [
    (f'merging{stage}.{part}', f'merging{stage}/{part}', how)
    for stage in range(_STAGES)
    for part, how in (('norm', 'norm'), ('reduction', 'dense'))
  ],
  [
    (
      f'stage{stage}.blocks.#.attn.{own.TABLE}',
      f'stage{stage}/encoderblock_#/{own.TABLE}',
      'n h',
    )
    for stage in range(_STAGES)
  ],
)


def _official(name: str) -> str:
  """Returns the official name of an image or video model's array."""
  name = re.sub(r'^backbone\.', '', name)
  return re.sub(r'^cls_head\.fc_cls\.', 'head.', name)


def _from_torchvision(name: str) -> str:
  """Returns the official name of an array of torchvision's Video Swin."""

  def change(match: re.Match) -> str:
    stage, odd = divmod(int(match[1]), 2)
    return f'layers.{stage}.{"downsample" if odd else "blocks"}.'

  name = re.sub(r'^features\.(\d+)\.', change, name)
  return name.replace('.mlp.0.', '.mlp.fc1.').replace('.mlp.3.', '.mlp.fc2.')


def _from_image_torchvision(name: str) -> str:
  """As `_from_torchvision`, of its image Swin: one feature more."""
  name = re.sub(r'^features\.0\.0\.', 'patch_embed.proj.', name)
  name = re.sub(r'^features\.0\.2\.', 'patch_embed.norm.', name)
  return _from_torchvision(
    re.sub(r'^features\.(\d+)', lambda x: f'features.{int(x[1]) - 1}', name)
  )


# Array by which a file is recognised -> (project, renaming to official names).
_NAMINGS = {
  _FIRST: ('official', _official),
  f'backbone.{_FIRST}': ('official', _official),
  f'features.0.0.attn.{own.TABLE}': ('torchvision', _from_torchvision),
  f'features.1.0.attn.{own.TABLE}': ('torchvision', _from_image_torchvision),
}


def _naming(file: File) -> tuple[str, Any] | None:
  if file.container not in TORCH:
    return None
  names = {*file.names}
  return next((x for name, x in _NAMINGS.items() if name in names), None)


def _second_version(file: File) -> str | None:
  """Returns an array of a Swin Transformer V2, or None."""
  known = file.container in TORCH
  return next(filter(_V2.search, file.names), None) if known else None


def read(file: File) -> Weights:
  """Reads a Video Swin, or an image Swin to start from.

  Sizes and window follow from names and shapes. Buffers are left out.

  Raises:
    UserError: another model, or a damaged file.
  """
  if second := _second_version(file):
    raise UserError(
      f'{file.path} is a Swin Transformer V2, which has {second}: only the '
      'first version is supported.'
    )
  project, rename = _naming(file)
  named, indices = {}, []
  for name, array in file.load().items():
    name = rename(name)
    for pattern, replacement in _RENAME:
      name = re.sub(pattern, replacement, name)
    if name.endswith('relative_position_index'):
      indices.append(array)
    elif not name.endswith('attn_mask'):
      named[name] = array
  arrays = _to_ours(named, file)
  video = arrays['embedding/kernel'].ndim == 5
  title = f'{"Video Swin" if video else "image Swin"} ({project})'
  weights = Weights(
    f'{title}, {file.title}',
    arrays,
    ('video_swin' if video else own.IMAGE_SWIN,),
    options={'norm_epsilon': _EPSILON},
  )
  if not video:
    return weights
  rows = len(arrays[f'stage0/encoderblock_0/{own.TABLE}'])
  window = _window(rows, indices[0] if indices else None)
  if window is None or math.prod(window) > _LARGEST:
    raise damaged(file.path, f'no window has a bias table of {rows} rows')
  experiment = _experiment(arrays, window, project)
  return dataclasses.replace(
    weights,
    options={**weights.options, 'window': window},
    experiment=experiment,
    notes=[_assumed(experiment['data'])],
  )


def _assumed(data: Mapping[str, Any]) -> str:
  """Returns a note on the clip, which no file states."""
  pace = 'at a step of 2'
  if data.get('sampling') == 'segments':
    pace = 'one from each segment, as for Something-Something v2'
  elif 'frames_per_second' in data:
    pace = f'at {data["frames_per_second"]:g} frames a second'
  return (
    f'clips of {data["frames"]} frames of {data["crop"][0]} pixels, {pace}, '
    'are assumed, as in the releases: set others in a --config=FILE'
  )


IMPORTS = (
  Import(
    lambda file: bool(_naming(file) or _second_version(file)),
    read,
  ),
)


def _to_ours(
  named: Mapping[str, np.ndarray], file: File
) -> dict[str, np.ndarray]:
  """Returns arrays under our names; the heads of a stage are in its tables.

  Raises:
    UserError: an array is missing, unknown, or has another number of axes.
  """
  stages: dict[str, dict[str, np.ndarray]] = {}
  for name, array in named.items():
    stage = re.match(r'stage\d+(?=\.)', name)
    stages.setdefault(stage[0] if stage else '', {})[name] = array
  arrays = {}
  for stage, part in stages.items():
    table = part.get(f'{stage}.blocks.0.attn.{own.TABLE}')
    if stage and (table is None or table.ndim != 2):
      raise damaged(file.path, f'{stage}.blocks.0 has no {own.TABLE} [n, h]')
    heads = table.shape[1] if stage else 1
    arrays |= torch_names.to_ours(part, heads, file.path, _TABLE)
  kernel = arrays.get('embedding/kernel')
  if kernel is None or kernel.ndim not in (4, 5):
    raise damaged(file.path, 'patch_embed.proj.weight is missing or damaged')
  return arrays


def _window(rows: int, index: np.ndarray | None) -> Grid | None:
  """Returns the window whose bias table has this number of rows, or None.

  Height and width of a window are taken to be equal, unless the file's buffer
  `relative_position_index` fits no such window.

  Args:
    rows: of a bias table.
    index: the buffer [N, N], if the file has one.
  """
  odd = [side for side in range(1, rows + 1, 2) if rows % side == 0]
  candidates = [
    ((rows // (a * b) + 1) // 2, (a + 1) // 2, (b + 1) // 2)
    for a in odd
    for b in odd
    if rows % 2 and rows % (a * b) == 0
  ]
  square = [window for window in candidates if window[1] == window[2]]
  square.sort(key=lambda window: -window[1])
  if index is None:
    return square[0] if square else None
  tokens = math.isqrt(index.size)
  for window in [*square, *candidates]:
    if math.prod(window) == tokens:
      if np.array_equal(relative_index(window).ravel(), index.ravel()):
        return window
  return None


def _experiment(
  arrays: own.Arrays, window: Grid, project: str
) -> dict[str, Any]:
  """Returns config sections of a release with these arrays.

  Facts: the official configurations, and torchvision's documentation.
  """
  size = own.size_of(arrays)
  known = [name for name, other in own.SIZES.items() if other == size]
  options = {} if known else dataclasses.asdict(size)
  mlp = arrays['stage0/encoderblock_0/MlpBlock_0/Dense_0/kernel'].shape[1]
  options |= {
    'window': window,
    'tubelet': arrays['embedding/kernel'].shape[:3],
    'mlp_ratio': mlp // size.width,
  }
  data, evaluation = dict(own.DATA), {'average': 'probabilities'}
  if project == 'torchvision':
    data |= {'short_side': 256, 'frames_per_second': 15.0}
    evaluation |= {'temporal_views': 12, 'spatial_crops': 1}
  elif classifier.classes_of(arrays) == classifier.SSV2_CLASSES:
    data['sampling'] = 'segments'
    evaluation['temporal_views'] = 1
  else:
    evaluation['views_from'] = 'parts'
  model = {'family': 'video_swin', 'size': known[0] if known else 'T'}
  return {
    'model': model | {'options': options},
    'data': data,
    'evaluation': evaluation,
  }


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors' under torchvision's names; see `Family.exports`.

  Raises:
    UserError: a model that torchvision's `SwinTransformer3d` does not support.
  """
  del clip  # nothing in the file depends on it
  arrays = weights.arrays
  exports.refuse(
    'torchvision supports Video Swins with a mean pool and one linear layer',
    {
      'does not state its window': 'window' not in weights.options,
      'is not of a video': arrays['embedding/kernel'].ndim != 5,
    },
    exports.from_one_linear_head(weights),
  )
  tensors = torch_names.joined_qkv(torch_names.to_theirs(arrays, _TABLE))
  index = relative_index(tuple(weights.options['window']))
  result = {}
  for name, tensor in tensors.items():
    name = re.sub(
      r'^(stage|merging)(\d+)\.(blocks\.)?',
      lambda x: f'features.{2 * int(x[2]) + (x[1] == "merging")}.',
      name,
    )
    name = name.replace('.mlp.fc1.', '.mlp.0.').replace('.mlp.fc2.', '.mlp.3.')
    result[name] = tensor
    if name.endswith(own.TABLE):
      buffer = name.replace(own.TABLE, 'relative_position_index')
      result[buffer] = index.astype(np.int64)
  notes = []
  if weights.options.get('norm_epsilon', _EPSILON) != _EPSILON:
    notes.append(
      f"torchvision's norms have an epsilon of {_EPSILON}, this model's "
      f'{weights.options["norm_epsilon"]}: logits differ'
    )
  return {'tensors': result, 'notes': notes}

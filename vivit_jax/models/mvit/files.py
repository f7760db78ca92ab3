"""Reads MViT's files of SlowFast, pytorchvideo, torchvision; writes the last.

All names are changed to SlowFast's first.
"""

import dataclasses
import re
from typing import Any

from vivit_jax.errors import damaged
from vivit_jax.models import (
  classifier,
  exports,
  slowfast,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.mvit import layout, names
from vivit_jax.models.mvit import weights as own
from vivit_jax.models.pixels import IMAGENET
from vivit_jax.models.weights import Clip, File, Weights

# Frames of a clip -> step between them, in frames of a video of 30 frames a
# second, in the releases.
_RATES = {16: 4, 32: 3, 40: 3}
PIXELS = {'mean': (0.45,) * 3, 'std': (0.225,) * 3}
_LONGEST = 2048  # frames, or pixels of a side
_LARGE_CROP = 312  # of L, whose pixels are normalised as ImageNet's


def read(file: File) -> Weights:
  """Reads an MViT, or an image MViT v2 of SlowFast to start from.

  Version, sizes, kernels and clip follow from names and shapes.

  Raises:
    UserError: another model, or a damaged file.
  """
  project = names.project_of(file)
  arrays = names.to_ours(file, project)
  kernel = arrays.get('embedding/kernel')
  if kernel is None or kernel.ndim not in (4, 5):
    raise damaged(file.path, 'the patch embedding is missing or damaged')
  version = own.version_of(arrays)
  if kernel.ndim == 4:
    title = f'image MViT ({project}), {file.title}'
    return Weights(title, arrays, (own.IMAGE_MVIT,))
  epsilon = 1e-5 if project == 'pytorchvideo' else 1e-6
  for name, array in arrays.items():
    if '/rel_pos_' in name and len(array) % 2 == 0:
      raise damaged(file.path, f'{name} has {len(array)} rows, an even number')
  options = {'version': version}
  if not (project == 'SlowFast' and version == 1):  # there, either of two
    options['norm_pool_epsilon'] = epsilon
  weights = Weights(
    f'MViT v{version} ({project}), {file.title}',
    arrays,
    ('mvit',),
    options=options,
  )
  try:
    experiment, notes = _experiment(weights, project, slowfast.data_of(file))
  except KeyError as error:
    raise damaged(file.path, f'{error.args[0]} is missing') from None
  _check(weights, file)
  if experiment is None:
    obstacle = (
      f'{file.path} does not state its clip: set data.frames and data.crop in '
      'a --config=FILE of its model.'
    )
    return dataclasses.replace(weights, obstacle=obstacle)
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


IMPORTS = (Import(names.is_mvit, read),)


def _check(weights: Weights, file: File) -> None:
  """Raises a UserError for arrays of no network, or of an absurd one."""
  size, clip = own.size_of(weights.arrays), own.clip_of(weights.arrays)
  if size.stages[:1] == (0,):
    raise damaged(file.path, 'block 0 pools its queries, or blocks are missing')
  if clip and max(clip) > _LONGEST:
    raise damaged(
      file.path, f'its positions are of {clip[0]} frames of {clip[1]} pixels'
    )


def _experiment(
  weights: Weights, project: str, cfg: dict[str, Any]
) -> tuple[dict[str, Any] | None, list[str]]:
  """Returns config sections, or None without a clip; and notes.

  Facts: the official configurations, and torchvision's documentation.
  """
  size, clip = own.size_of(weights.arrays), own.clip_of(weights.arrays)
  if clip is None:
    return None, []
  version = weights.options['version']
  name, options = layout.named(version, size)
  frames, side = clip
  data = {'frames': frames, 'crop': (side, side)} | PIXELS
  data |= IMAGENET if side == _LARGE_CROP else {}
  data |= slowfast.pixels(cfg)
  of_ssv2 = classifier.classes_of(weights.arrays) == classifier.SSV2_CLASSES
  crops = 3 if of_ssv2 or side == _LARGE_CROP else 1
  # With three crops, the official test resizes to the crop's size.
  data['short_side'] = side if crops == 3 else max(256, side)
  notes = []
  if of_ssv2:
    data['sampling'] = 'segments'
    for key in ('mean', 'std'):  # the official code applies them to BGR
      data[key] = data[key][::-1]
    notes.append(classifier.SSV2_NOTE)
  else:
    rate = cfg.get('SAMPLING_RATE')
    if rate is None:
      rate = _RATES.get(frames, 4)
      notes.append(
        f'a step of {rate} between frames at 30 frames a second is assumed: '
        'for another, set data.frames_per_second to 30 / step in a '
        '--config=FILE'
      )
    data |= {'sampling': 'span', 'frames_per_second': 30 / rate}
  if version == 1 and project == 'SlowFast':
    notes.append(
      'norms after pooling have an epsilon of 1e-6; in SlowFast before June '
      '2022 it was 1e-5: set model.options.norm_pool_epsilon'
    )
  model = {'family': 'mvit', 'size': name, 'options': weights.options | options}
  evaluation = {
    'temporal_views': 1 if of_ssv2 else 5,
    'spatial_crops': crops,
    'average': 'probabilities',
  }
  sections = {'model': model, 'data': data, 'evaluation': evaluation}
  return sections, notes


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors' under torchvision's names, and 'notes'.

  See `Family.exports`.

  Raises:
    UserError: a model that torchvision's `MViT` does not support.
  """
  del clip  # nothing in the file depends on it
  arrays = weights.arrays
  exports.refuse(
    'torchvision supports MViTs of videos with a class token and one linear '
    'layer',
    {
      'is of images': arrays['embedding/kernel'].ndim != 5,
      'has no class token': 'cls' not in arrays,
    },
    exports.from_one_linear_head(weights),
  )
  tensors = torch_names.to_theirs(arrays, names.TORCHVISION)
  tensors = {
    re.sub(r'^head\.projection\.', 'head.1.', name): tensor
    for name, tensor in torch_names.joined_qkv(tensors).items()
  }
  epsilon, notes = weights.options.get('norm_pool_epsilon', 1e-6), []
  if epsilon != 1e-6:
    notes.append(
      'torchvision has an epsilon of 1e-6 in the norms after pooling, this '
      f'model {epsilon:g}: its logits will differ slightly'
    )
  return {'tensors': tensors, 'notes': notes}

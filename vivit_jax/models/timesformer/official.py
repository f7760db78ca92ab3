"""Reads the checkpoints of facebookresearch/TimeSformer."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from vivit_jax.models import classifier, image_vit, sizes, slowfast, torch_names
from vivit_jax.models.family import Import
from vivit_jax.models.timesformer import weights as own
from vivit_jax.models.weights import TORCH, File, Weights

OPTIONS = {'gelu': 'exact', 'norm_epsilon': 1e-6}


def _matches(file: File) -> bool:
  """Returns whether the names are TimeSformer's.

  A space-only model has the names of timm's ViT; only the prefix 'model.' of
  the official trainer shows it.
  """
  names = {*file.names}
  return (
    file.container in TORCH
    and {'blocks.0.attn.qkv.weight', 'pos_embed'} <= names
    and ('time_embed' in names or file.prefix.endswith('model.'))
  )


def read(file: File) -> Weights:
  """Reads TimeSformer's weights under the official names.

  Attention, sizes, frames and crop follow from names and shapes; attention
  heads from a config.json beside the file, else from the width.

  Raises:
    UserError: another model, or a damaged file.
  """
  arrays = torch_names.from_timm(file.load())
  width = arrays['embeddings.cls_token'].shape[-1]
  heads = torch_names.heads_of(file, width)
  arrays = torch_names.to_ours(arrays, heads or 1, file.path)
  arrays['embedding/kernel'] = arrays['embedding/kernel'][None]
  weights = Weights(
    f'TimeSformer, {file.container}',
    arrays,
    ('timesformer',),
    options=OPTIONS | {'attention': own.attention_of(arrays)},
    heads_unknown=heads is None,
  )
  image_vit.checked(weights, file)
  if heads is None:
    obstacle = torch_names.heads_obstacle(file)
    return dataclasses.replace(weights, obstacle=obstacle)
  positions = arrays[own.POSITIONS].shape[1] - 1
  if math.isqrt(positions) ** 2 != positions:
    return dataclasses.replace(
      weights,
      obstacle=(
        f'{file.path} has {positions} positions, which are no square grid: '
        'set data.crop in a --config=FILE, and init_grid there.'
      ),
    )
  experiment, notes = _experiment(weights, slowfast.data_of(file))
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


READ = Import(_matches, read)


def _experiment(
  weights: Weights, cfg: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
  """Returns config sections, and notes."""
  arrays, widths = weights.arrays, image_vit.infer_sizes(weights.arrays)
  size, options = sizes.named_by(widths)
  patch = arrays['embedding/kernel'].shape[1]
  side = math.isqrt(arrays[own.POSITIONS].shape[1] - 1) * patch
  frames = cfg.get('NUM_FRAMES', 8)
  if own.TIME in arrays:
    frames = arrays[own.TIME].shape[1]
  data = own.DATA | {
    'frames': frames,
    'crop': (side, side),
    'short_side': side,  # with three crops, as the official test has
    **slowfast.pixels(cfg),
  }
  classes = classifier.classes_of(arrays)
  rate = cfg.get('SAMPLING_RATE')
  sampling, notes = own.sampling(frames, classes, rate)
  options |= {'patch': patch, 'layers': widths['layers'], **weights.options}
  model = {'family': 'timesformer', 'size': size, 'options': options}
  experiment = {
    'model': model,
    'data': data | sampling,
    'evaluation': own.EVALUATION,
  }
  return experiment, notes

"""What VTN and STAM share as families: a ViT per frame, then a second encoder.

The ViT has the parameter names of the spatial encoder of ViViT's Model 2.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vivit_jax import typed
from vivit_jax.errors import UserError, damaged
from vivit_jax.models import blocks, image_vit, resize, sizes, torch_names
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.vivit import weights as vivit
from vivit_jax.models.weights import IMAGE_VIT, File, Weights

Arrays = Mapping[str, np.ndarray]
CAM = r'SpatialTransformer/encoderblock_\d+/LayerNorm_0'  # `Family.cam`


@dataclasses.dataclass(frozen=True)
class Options(sizes.Options):
  """Config keys of both; their defaults are VTN's."""

  patch: int = typed.limited(16, at_least=1)  # height and width, in pixels
  # None: as in model.size.
  spatial_layers: int | None = typed.limited(None, at_least=1)
  temporal_layers: int = typed.limited(3, at_least=1)
  # None: as the ViT's.
  temporal_heads: int | None = typed.limited(None, at_least=1)
  temporal_mlp: int | None = typed.limited(None, at_least=1)
  dropout: float = typed.limited(0.1, at_least=0, below=1)  # temporal encoder

  @property
  def tubelet(self) -> tuple[int, int, int]:
    return 1, self.patch, self.patch

  @property
  def embedding(self) -> str:
    return 'tubelet'


def check(config: ModelConfig) -> None:
  """Raises a UserError unless attention heads divide the width."""
  sizes.check_heads(config)
  size, heads = sizes.of(config), config.options.temporal_heads
  if heads and size.width % heads:
    raise UserError(
      f'model.options.temporal_heads is {heads}, which does not divide the '
      f'width of {size.width}.'
    )


def settings(config: ModelConfig, epsilon: float) -> dict[str, Any]:
  """Returns attributes of a backbone: of `SpatialFirst`, and for time.

  Args:
    config: of the model.
    epsilon: of the temporal encoder's norms.
  """
  size, options = sizes.of(config), config.options
  spatial = blocks.vit_options(config)
  return {
    'width': size.width,
    'depth': size.layers,
    'options': spatial,
    'tubelet': options.tubelet,
    'temporal_layers': options.temporal_layers,
    'temporal': dataclasses.replace(
      spatial,
      attention_heads=options.temporal_heads or size.attention_heads,
      mlp=options.temporal_mlp or size.mlp,
      gelu='exact',
      epsilon=epsilon,
    ),
    'dropout': options.dropout,
  }


def from_image(arrays: Arrays, target: Any) -> dict[str, np.ndarray]:
  """Returns an image ViT's arrays for the ViT per frame, without its head."""
  renamed = vivit.renaming(vivit.TO_FACTORISED_ENCODER)(arrays, target)
  return {n: x for n, x in renamed.items() if 'output_projection' not in n}


RESIZE = (
  *vivit.RESIZE,
  ('.*/(query|key|value)/(kernel|bias)|.*/out/kernel', resize.split_heads),
)


def read(
  file: File,
  title: str,
  defaults: Options,
  spatial: str,
  temporal: Sequence[torch_names.Row],
  rename: Mapping[str, str],
) -> tuple[Weights, dict[str, Any]]:
  """Reads the released weights of VTN or STAM.

  Args:
    file: of torch's arrays.
    title: of the project.
    defaults: options of the released models. A config.json beside the file
      takes precedence for the attention heads.
    spatial: pattern of the start of the ViT's names, which is removed.
    temporal: table of all other arrays; see `torch_names.to_ours`.
    rename: pattern -> replacement, for other arrays' names before that.

  Returns:
    The weights, for the family of this name in lower case; and the config
    sections `model`, `data` and `evaluation` as far as they follow from the
    arrays and the official tests.

  Raises:
    UserError: another model, or a damaged file.
  """
  ours, rest = {}, {}
  for name, array in file.load().items():
    for pattern, replacement in rename.items():
      name = re.sub(pattern, replacement, name)
    if start := re.match(spatial, name):
      ours[name[start.end() :]] = array
    elif not name.endswith('.position_ids'):  # a buffer
      rest[name] = array
  if 'cls_token' not in ours or 'pos_embed' not in ours:
    raise damaged(file.path, 'the ViT has no cls_token or pos_embed')
  width = ours['cls_token'].shape[-1]
  heads = torch_names.heads_of(file, width)
  in_time = defaults.temporal_heads
  if in_time is None or 'temporal_heads' in file.config:
    in_time = torch_names.heads_of(file, width, 'temporal_heads')
  ours = torch_names.to_ours(torch_names.from_timm(ours), heads or 1, file.path)
  image_vit.checked(Weights(title, ours, (IMAGE_VIT,)), file)
  ours = from_image(ours, None) | torch_names.to_ours(
    rest, in_time or 1, file.path, temporal
  )
  ours['embedding/kernel'] = ours['embedding/kernel'][None]
  found = infer_sizes(ours)
  positions = ours[f'SpatialTransformer/{image_vit.POSITIONS}'].shape[1] - 1
  side = math.isqrt(positions)
  patch = ours['embedding/kernel'].shape[1]
  size, options = sizes.named(heads or 1, width, found['mlp_width'])
  options |= {'patch': patch} | {
    key: found[key]
    for key in ('spatial_layers', 'temporal_layers', 'temporal_mlp')
  }
  model = {'family': title.lower(), 'size': size}
  model['options'] = options | {'temporal_heads': in_time}
  weights = Weights(
    f'{title}, {file.container}',
    ours,
    (title.lower(),),
    options={key: getattr(defaults, key) for key in ('gelu', 'norm_epsilon')},
  )
  obstacle = ''
  if None in (heads, in_time):
    obstacle = torch_names.heads_obstacle(
      file, 'model.options.attention_heads and temporal_heads'
    )
  elif side**2 != positions:
    obstacle = (
      f'{file.path} has {positions} positions, which are no square grid: set '
      'data.crop in a --config=FILE, and init_grid there.'
    )
  weights = dataclasses.replace(
    weights, heads_unknown=None in (heads, in_time), obstacle=obstacle
  )
  crop = side * patch
  # As in the official tests: one view, whose crop is 0.875 of the short side.
  return weights, {
    'model': model,
    'data': {'crop': (crop, crop), 'short_side': -(-crop * 8 // 7)},
    'evaluation': {'temporal_views': 1, 'spatial_crops': 1},
  }


def with_experiment(
  weights: Weights, experiment: Mapping[str, Any], notes: Sequence[str] = ()
) -> Weights:
  """Returns the weights with the config of their release, if it is known."""
  if weights.obstacle:
    return weights
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


def infer_sizes(arrays: Arrays) -> dict[str, int]:
  """Returns option -> size, of both encoders; `Family.infer_sizes`."""
  spatial = {
    name: x for name, x in arrays.items() if 'TemporalTransformer' not in name
  }
  found = image_vit.infer_sizes(spatial)
  found['temporal_layers'] = image_vit.depths(arrays)['TemporalTransformer']
  for name, array in arrays.items():
    if re.match(r'TemporalTransformer/encoderblock_\d+/Dense_0/kernel', name):
      found['temporal_mlp'] = array.shape[1]
    elif re.match(r'TemporalTransformer/.*/query/kernel', name):
      found['temporal_heads'] = array.shape[1]
  return found


def describe(arrays: Arrays) -> dict[str, str]:
  """Returns lines on the ViT and the temporal encoder; `Family.describe`."""
  found = infer_sizes(arrays)
  spatial = {n: x for n, x in arrays.items() if 'TemporalTransformer' not in n}
  return image_vit.describe(spatial) | {
    'temporal encoder': (
      f'{found["temporal_layers"]} blocks, MLP {found["temporal_mlp"]}'
    ),
    'temporal heads': f'{found["temporal_heads"]}',
  }


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del initial
  if IMAGE_VIT not in source.models:
    return None
  if re.match('(cls_)?TemporalTransformer|mlp_head/', name):
    return 'the checkpoint has no temporal encoder'
  if name == 'cls_SpatialTransformer':
    return 'the checkpoint has no class token'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source, initial
  return 'the model has no pooler' if name.startswith('pooler/') else None

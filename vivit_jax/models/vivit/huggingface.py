"""Reads and writes ViViT Model 1 in Hugging Face's format."""

import math
from typing import Any

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import (
  exports,
  image_vit,
  preprocessor,
  sizes,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.weights import TORCH, Clip, File, Weights

_POSITIONS = f'Transformer/{image_vit.POSITIONS}'


def read(file: File) -> Weights:
  """Reads the folder of a `VivitForVideoClassification`.

  config.json and preprocessor_config.json define model and preprocessing. They
  do not state the stride, so it is this package's default. A preprocessing that
  this package cannot follow is no obstacle if the user passes a config.

  Raises:
    UserError: a model that this package cannot build, or a damaged file.
  """
  config = file.path.with_name('config.json')
  pixels = file.path.with_name(preprocessor.NAME)
  experiment = grid = None
  obstacle = ''
  try:
    experiment = _experiment(file)
    tubelet = experiment['model']['options']['tubelet']
    clip = experiment['data']['frames'], *experiment['data']['crop']
    t, h, w = (size // part for size, part in zip(clip, tubelet))
    grid = t, h, w
  except UserError as error:
    raise UserError(f'{config}: {error}') from None
  except (KeyError, ZeroDivisionError):
    pass  # incomplete config.json: the user must pass a config
  except (TypeError, ValueError, OverflowError):
    raise damaged(
      config, "its sizes are not those of model_type 'vivit'"
    ) from None
  if experiment is not None:
    side = experiment['data']['crop'][0]
    try:
      experiment['data'] |= preprocessor.read(file.preprocessor, side)
    except UserError as error:
      experiment, obstacle = None, f'{pixels}: {error}'
  return image_vit.read_hugging_face(
    file,
    ('joint',),
    grid=grid,
    experiment=experiment,
    obstacle=obstacle,
    notes=preprocessor.notes(file.preprocessor),
  )


READ = Import(
  lambda file: (
    file.container in TORCH and file.config.get('model_type') == 'vivit'
  ),
  read,
)


def _experiment(file: File) -> dict[str, Any]:
  """Returns config sections `model` and `data` from config.json."""
  config = file.config
  side = int(config['image_size'])
  size, widths = sizes.named(
    *(
      int(config[key])
      for key in ('num_attention_heads', 'hidden_size', 'intermediate_size')
    )
  )
  options = {
    'tubelet': tuple(int(part) for part in config['tubelet_size']),
    'layers': int(config['num_hidden_layers']),
    **widths,
    **image_vit.hugging_face_options(file),
  }
  data = {
    'frames': int(config['num_frames']),
    'crop': (side, side),
  }
  return {
    'model': {'family': 'joint', 'size': size, 'options': options},
    'data': data,
  }


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors' and JSON files for a Hugging Face folder.

  See `Family.exports`.

  Raises:
    UserError: a model that `VivitForVideoClassification` does not support.
  """
  _check(weights, clip)
  tensors = {
    name if name.startswith('classifier.') else f'vivit.{name}': tensor
    for name, tensor in torch_names.to_theirs(weights.arrays).items()
  }
  return {
    'tensors': tensors,
    'config.json': _config(weights, clip),
    preprocessor.NAME: preprocessor.write(clip),
  }


def _check(weights: Weights, clip: Clip) -> None:
  """Raises a UserError for a model that transformers does not support."""
  arrays = weights.arrays
  image_vit.check_blocks(arrays)
  exports.refuse(
    'Hugging Face supports ViViT Model 1 with a class token, learned '
    'positions, square crops and one head',
    {
      f'is {weights.title}': list(weights.models) != ['joint'],
      'has no class token': 'cls' not in arrays,
      'has no learned positions': _POSITIONS not in arrays,
    },
    exports.from_squares(weights, clip),
    exports.from_one_linear_head(weights),
  )
  tubelet = arrays['embedding/kernel'].shape[:-2]
  positions = arrays[_POSITIONS].shape[1] - 1
  input_size = (clip.frames, *clip.crop)
  tokens = math.prod(size // part for size, part in zip(input_size, tubelet))
  if any(s % p for s, p in zip(input_size, tubelet)) or positions != tokens:
    raise UserError(
      f'{positions} positions and tubelets of {tubelet} do not fit clips of '
      f'{clip.frames} frames of {clip.crop} pixels: set --frames and --crop.'
    )


def _config(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns config.json."""
  arrays = weights.arrays
  exact = weights.options.get('gelu') == 'exact'
  return {
    'architectures': ['VivitForVideoClassification'],
    'model_type': 'vivit',
    'hidden_act': 'gelu' if exact else 'gelu_fast',
    'tubelet_size': list(arrays['embedding/kernel'].shape[:3]),
    **image_vit.hugging_face_config(weights, clip),
  }

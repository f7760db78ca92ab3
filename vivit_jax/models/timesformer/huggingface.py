"""Reads and writes TimeSformer in Hugging Face's format."""

import dataclasses
from typing import Any

from vivit_jax.errors import UserError, damaged
from vivit_jax.models import (
  classifier,
  exports,
  image_vit,
  preprocessor,
  sizes,
  torch_names,
)
from vivit_jax.models.family import Import
from vivit_jax.models.timesformer import weights as own
from vivit_jax.models.weights import Clip, File, Weights

_ATTENTION = {
  'divided_space_time': 'divided',
  'joint_space_time': 'joint',
  'space_only': 'space',
}


def read(file: File) -> Weights:
  """Reads the folder of a `TimesformerForVideoClassification`.

  A space-only model here averages the tokens of all frames before the final
  norm, as the official code does; transformers does not average.

  Raises:
    UserError: a model that this package cannot build, or a damaged file.
  """
  weights = image_vit.read_hugging_face(file, ('timesformer',))
  arrays = dict(weights.arrays)
  arrays['embedding/kernel'] = arrays['embedding/kernel'][None]
  attention = own.attention_of(arrays)
  weights = dataclasses.replace(
    weights,
    arrays=arrays,
    options={**weights.options, 'attention': attention},
  )
  path = file.path.with_name('config.json')
  try:
    experiment = _experiment(file, weights)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  except KeyError:  # incomplete: the user must pass a config
    return weights
  except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
    raise damaged(path, f'{type(error).__name__}: {error}') from None
  data = experiment['data']
  try:
    data |= preprocessor.read(
      file.preprocessor, data['crop'][0], preprocessor.VIDEO_MAE
    )
  except UserError as error:
    where = file.path.with_name(preprocessor.NAME)
    return dataclasses.replace(weights, obstacle=f'{where}: {error}')
  classes = classifier.classes_of(arrays)
  sampling, notes = own.sampling(data['frames'], classes, None)
  data |= sampling
  notes += preprocessor.notes(file.preprocessor, preprocessor.VIDEO_MAE)
  if attention == 'space':
    notes.append(
      'frames are averaged before the final norm, as in the official code; '
      'transformers gives logits of each frame'
    )
  return dataclasses.replace(weights, experiment=experiment, notes=notes)


READ = Import(
  lambda file: file.config.get('model_type') == 'timesformer',
  read,
)


def _experiment(file: File, weights: Weights) -> dict[str, Any]:
  """Returns config sections from config.json."""
  config = file.config
  stated = config.get('attention_type', 'divided_space_time')
  if _ATTENTION.get(stated) != weights.options['attention']:
    raise UserError(
      f"attention_type is '{stated}', but the arrays are those of "
      f"'{weights.options['attention']}' attention."
    )
  size, options = sizes.named(
    *(
      int(config[key])
      for key in ('num_attention_heads', 'hidden_size', 'intermediate_size')
    )
  )
  side = int(config['image_size'])
  options |= {
    'patch': int(config['patch_size']),
    'layers': int(config['num_hidden_layers']),
    **weights.options,
  }
  return {
    'model': {'family': 'timesformer', 'size': size, 'options': options},
    'data': {'frames': int(config['num_frames']), 'crop': (side, side)},
    'evaluation': own.EVALUATION,
  }


def write(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns 'tensors' and JSON files for a Hugging Face folder.

  See `Family.exports`.

  Raises:
    UserError: a model that `TimesformerForVideoClassification` does not
      support.
  """
  _check(weights, clip)
  arrays = dict(weights.arrays)
  arrays['embedding/kernel'] = arrays['embedding/kernel'][0]
  tensors = torch_names.joined_qkv(torch_names.to_theirs(arrays))
  tensors = {
    name if name.startswith('classifier.') else f'timesformer.{name}': tensor
    for name, tensor in tensors.items()
  }
  return {
    'tensors': tensors,
    'config.json': _config(weights, clip),
    preprocessor.NAME: preprocessor.write(clip, preprocessor.VIDEO_MAE),
  }


def _check(weights: Weights, clip: Clip) -> None:
  """Raises a UserError for a model that transformers does not support."""
  arrays = weights.arrays
  image_vit.check_blocks(arrays)
  exports.refuse(
    'Hugging Face supports TimeSformers with divided or joint attention, a '
    'class token, square crops and one head',
    {
      'attends within frames only, which transformers does not average': (
        own.attention_of(arrays) == 'space'
      ),
      'has no class token': 'cls' not in arrays,
    },
    exports.from_squares(weights, clip),
    exports.from_one_linear_head(weights),
  )
  patch = arrays['embedding/kernel'].shape[1]
  positions, frames = arrays[own.POSITIONS].shape[1] - 1, _frames(weights)
  tokens = (clip.crop[0] // patch) ** 2
  if clip.crop[0] % patch or (positions, frames) != (tokens, clip.frames):
    raise UserError(
      f'{frames} frames of {positions} positions and patches of {patch} pixels '
      f'do not fit clips of {clip.frames} frames of {clip.crop} pixels: set '
      '--frames and --crop.'
    )


def _frames(weights: Weights) -> int:
  return weights.arrays[own.TIME].shape[1]


def _config(weights: Weights, clip: Clip) -> dict[str, Any]:
  """Returns config.json."""
  arrays = weights.arrays
  kinds = {ours: theirs for theirs, ours in _ATTENTION.items()}
  exact = weights.options.get('gelu') == 'exact'
  return {
    'architectures': ['TimesformerForVideoClassification'],
    'model_type': 'timesformer',
    'attention_type': kinds[own.attention_of(arrays)],
    'hidden_act': 'gelu' if exact else 'gelu_pytorch_tanh',
    'patch_size': arrays['embedding/kernel'].shape[1],
    'drop_path_rate': 0,
    **image_vit.hugging_face_config(weights, clip),
  }

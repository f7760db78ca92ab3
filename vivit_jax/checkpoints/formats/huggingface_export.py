"""Model 1 as a folder that Hugging Face's transformers reads."""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

from safetensors.numpy import save_file

from vivit_jax.checkpoints.formats import torch_names
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError

_POSITIONS = 'Transformer/posembed_input/pos_embedding'


@dataclasses.dataclass(frozen=True)
class Clip:
  """What a model sees of a video.

  Attributes:
    frames: of a clip; of those that a tubelet sees, if it sees some alone.
    crop: height and width, in pixels.
    short_side: pixels that a video is resized to before the crop.
    mean, std: of the colours, of pixels in [0, 1].
  """

  frames: int = 32
  crop: tuple[int, int] = (224, 224)
  short_side: int = 256
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)


def write(
  weights: Weights,
  folder: pathlib.Path,
  clip: Clip,
) -> None:
  """Writes Model 1 as `VivitForVideoClassification` reads it.

  Args:
    weights: of Model 1, with a class token.
    folder: must not exist; appears whole.
    clip: that the model sees.

  Raises:
    UserError: another model, or a folder that is there or cannot be written.
  """
  arrays = weights.arrays
  _check(weights, clip)
  if folder.exists():
    raise UserError(f'{folder} is there already: choose another folder.')
  config = _config(weights, clip)
  tensors = {
    name if name.startswith('classifier.') else f'vivit.{name}': tensor
    for name, tensor in torch_names.to_theirs(arrays).items()
  }
  unfinished = folder.with_name(f'.{folder.name}.part')
  try:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(
      tensors, unfinished / 'model.safetensors', metadata={'format': 'pt'}
    )
    for name, value in (
      ('config.json', config),
      ('preprocessor_config.json', preprocessor(clip)),
    ):
      (unfinished / name).write_text(json.dumps(value, indent=2) + '\n')
    os.replace(unfinished, folder)
  except OSError as error:
    raise UserError(f'cannot write {folder}: {error.strerror}.') from None


def _check(weights: Weights, clip: Clip) -> None:
  """Raises a UserError for what `VivitForVideoClassification` is not."""
  arrays = weights.arrays
  wrong = None
  if weights.family != 'joint':
    wrong = f'this is {weights.family}'
  elif 'cls' not in arrays:
    wrong = 'this one has no class token'
  elif _POSITIONS not in arrays:
    wrong = 'this one has no learned positions'
  elif any(name.startswith('pre_logits/') for name in arrays):
    wrong = 'this one has a representation layer'
  elif clip.crop[0] != clip.crop[1]:
    wrong = f'this one has crops of {clip.crop}'
  elif 'output_projection/bias' not in arrays:
    wrong = 'this one has no head'
  elif len(weights.label_names or {}) > 1:
    wrong = f'this one has the heads {", ".join(weights.label_names)}'
  if wrong:
    raise UserError(
      'Hugging Face has ViViT as Model 1 alone, with a class token, learned '
      f'positions, square crops and one head; {wrong}.'
    )


def preprocessor(clip: Clip) -> dict[str, Any]:
  """Returns the preprocessor that makes of pixels what ours does.

  Their resize is another one than ours (antialiased, and before the crop): of
  videos whose short side is `clip.short_side` already, which neither resizes,
  the pixels are the same.
  """
  symmetric = clip.mean == clip.std == (0.5, 0.5, 0.5)  # to [-1, 1]
  height, width = clip.crop
  return {
    'image_processor_type': 'VivitImageProcessor',
    'do_resize': True,
    'size': {'shortest_edge': clip.short_side},
    'resample': 2,
    'do_center_crop': True,
    'crop_size': {'height': height, 'width': width},
    'do_rescale': True,
    'rescale_factor': 1 / 127.5 if symmetric else 1 / 255,
    'offset': symmetric,
    'do_normalize': not symmetric,
    'image_mean': list(clip.mean),
    'image_std': list(clip.std),
  }


def _config(weights: Weights, clip: Clip) -> dict[str, Any]:
  arrays = weights.arrays
  kernel = arrays['embedding/kernel']
  query = arrays[
    'Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel'
  ]
  classes = arrays['output_projection/bias'].size
  known = [f'LABEL_{number}' for number in range(classes)]
  for names in (weights.label_names or {}).values():
    known = list(names)
  return {
    'architectures': ['VivitForVideoClassification'],
    'model_type': 'vivit',
    'hidden_act': 'gelu_fast',
    'hidden_size': kernel.shape[-1],
    'intermediate_size': arrays[
      'Transformer/encoderblock_0/MlpBlock_0/Dense_0/bias'
    ].size,
    'image_size': clip.crop[0],
    'layer_norm_eps': 1e-6,
    'num_attention_heads': query.shape[1],
    'num_channels': 3,
    'num_frames': clip.frames,
    'num_hidden_layers': weights.depths()['Transformer'],
    'qkv_bias': True,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'tubelet_size': list(kernel.shape[:3]),
    'id2label': {str(n): name for n, name in enumerate(known)},
    'label2id': {name: n for n, name in enumerate(known)},
  }

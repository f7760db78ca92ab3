"""Hugging Face folders: ViViT both ways, image ViTs in, and timm's ViTs in."""

import json
import os
import pathlib
import re
import shutil
from typing import Any

from safetensors.numpy import save_file

from vivit_jax.checkpoints.formats import files, torch_names
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError

_NOTE = (
  'pixels are prepared as the reference does ([-1, 1], short side 256), not as '
  "its preprocessor's defaults would"
)
_TANH_GELUS = ('gelu_fast', 'gelu_new', 'gelu_pytorch_tanh')


def read(folder: pathlib.Path) -> Weights:
  """Reads `config.json` and `model.safetensors` of a ViViT or an image ViT.

  Raises:
    UserError: another model, or damaged files.
  """
  config = files.read_json(folder / 'config.json')
  kind = config.get('model_type')
  if kind not in ('vivit', 'vit'):
    raise UserError(
      f"{folder} holds a Hugging Face model of type '{kind}'; those of type "
      "'vivit' and 'vit' can be read."
    )
  heads = config.get('num_attention_heads')
  if type(heads) is not int or heads < 1:
    raise files.damaged(folder / 'config.json', 'num_attention_heads is absent')
  arrays = files.read_safetensors(folder / 'model.safetensors')
  arrays = {name.removeprefix(f'{kind}.'): x for name, x in arrays.items()}
  renamed = torch_names.to_ours(arrays, heads, folder)
  labels = config.get('id2label')
  label_names = None
  if isinstance(labels, dict) and 'output_projection/bias' in renamed:
    label_names = {
      'label': [str(labels[k]) for k in sorted(labels, key=_number)]
    }
  notes = (_NOTE,) if kind == 'vivit' else ()
  return Weights(
    f'Hugging Face {kind}',
    renamed,
    label_names,
    _grid(config),
    (*notes, *_differences(config, folder)),
    model='joint' if kind == 'vivit' else None,
  )


def _differences(config: dict[str, Any], folder: pathlib.Path) -> list[str]:
  """Returns notes of what is computed a little differently here.

  Raises:
    UserError: an activation that is not a GELU.
  """
  activation = config.get('hidden_act', 'gelu')
  if activation not in ('gelu', *_TANH_GELUS):
    raise UserError(
      f"{folder} has hidden_act '{activation}'; a ViT here has a GELU."
    )
  epsilon = config.get('layer_norm_eps', 1e-12)
  notes = []
  if activation == 'gelu':
    notes.append('its GELU is exact (erf); here it is the tanh approximation')
  if epsilon != 1e-6:
    notes.append(f'its layer norms have epsilon {epsilon}; here it is 1e-6')
  return notes


def _grid(config: dict[str, Any]) -> tuple[int, int, int] | None:
  """Returns t, h and w of a ViViT's tokens, if its config tells."""
  try:
    t, h, w = config['tubelet_size']
    size = config['image_size']
    return config['num_frames'] // t, size // h, size // w
  except (KeyError, TypeError, ValueError, ZeroDivisionError):
    return None


def _number(key: str) -> int:
  return int(key) if re.fullmatch(r'\d+', key) else -1


def read_timm(path: pathlib.Path) -> Weights:
  """Reads timm's ViT from safetensors: q, k and v are stacked in one array."""
  arrays = files.read_safetensors(path)
  if 'blocks.0.attn.qkv.weight' not in arrays:
    raise UserError(
      f'{path} is a safetensors file, but no ViT of timm, and without the '
      'config.json of Hugging Face beside it.'
    )
  width = arrays['blocks.0.attn.qkv.weight'].shape[1]
  # Their number is not in the file: of 64 each, but in ViT-H.
  heads = 16 if width == 1280 else max(width // 64, 1)
  renamed = torch_names.to_ours(torch_names.from_timm(arrays), heads, path)
  return Weights('timm ViT safetensors', renamed)


def write(
  weights: Weights,
  folder: pathlib.Path,
  *,
  frames: int,
  crop: tuple[int, int],
  short_side: int,
  label_names: list[str] | None,
) -> None:
  """Writes Model 1 as `VivitForVideoClassification` reads it.

  Args:
    weights: of Model 1, with a class token.
    folder: must not exist; appears whole.
    frames, crop: of a clip; height and width are equal there.
    short_side: pixels that a video is resized to before the crop.
    label_names: names of the classes; None numbers them.

  Raises:
    UserError: another model, or a folder that is there or cannot be written.
  """
  arrays = weights.arrays
  if (
    weights.family != 'joint'
    or crop[0] != crop[1]
    or 'pre_logits/bias' in arrays
  ):
    raise UserError(
      f'Hugging Face has ViViT as Model 1 with a class token and square crops '
      f'alone; this is {weights.family} at {crop}.'
    )
  if 'output_projection/bias' not in arrays:
    raise UserError('the weights have no head: a classifier there needs one.')
  if folder.exists():
    raise UserError(f'{folder} is there already: choose another folder.')
  config = _config(weights, frames, crop[0], label_names)
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
      ('preprocessor_config.json', preprocessor(crop[0], short_side)),
    ):
      (unfinished / name).write_text(json.dumps(value, indent=2) + '\n')
    os.replace(unfinished, folder)
  except OSError as error:
    raise UserError(f'cannot write {folder}: {error.strerror}.') from None


def preprocessor(crop: int, short_side: int) -> dict[str, Any]:
  """Returns the preprocessor that maps pixels to [-1, 1], as ours does."""
  return {
    'image_processor_type': 'VivitImageProcessor',
    'do_resize': True,
    'size': {'shortest_edge': short_side},
    'resample': 2,
    'do_center_crop': True,
    'crop_size': {'height': crop, 'width': crop},
    'do_rescale': True,
    'rescale_factor': 1 / 127.5,
    'offset': True,
    'do_normalize': False,
  }


def _config(
  weights: Weights, frames: int, crop: int, label_names: list[str] | None
) -> dict[str, Any]:
  arrays = weights.arrays
  kernel = arrays['embedding/kernel']
  query = arrays[
    'Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel'
  ]
  classes = arrays['output_projection/bias'].size
  known = label_names or [f'LABEL_{number}' for number in range(classes)]
  return {
    'architectures': ['VivitForVideoClassification'],
    'model_type': 'vivit',
    'hidden_act': 'gelu_fast',
    'hidden_size': kernel.shape[-1],
    'intermediate_size': arrays[
      'Transformer/encoderblock_0/MlpBlock_0/Dense_0/bias'
    ].size,
    'image_size': crop,
    'layer_norm_eps': 1e-6,
    'num_attention_heads': query.shape[1],
    'num_channels': 3,
    'num_frames': frames,
    'num_hidden_layers': weights.depths()['Transformer'],
    'qkv_bias': True,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    'tubelet_size': list(kernel.shape[:3]),
    'id2label': {str(n): name for n, name in enumerate(known)},
    'label2id': {name: n for n, name in enumerate(known)},
  }

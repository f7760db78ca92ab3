"""Hugging Face folders of ViViTs and image ViTs, and timm's ViTs."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.checkpoints.formats import files, torch_names
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError

_NOTE = (
  'pixels are prepared as the reference does ([-1, 1], short side 256), not as '
  "its preprocessor's defaults would"
)
_EXACT_GELU = 'its GELU is exact (erf); here it is the tanh approximation'
_TANH_GELUS = ('gelu_fast', 'gelu_new', 'gelu_pytorch_tanh')


def read(folder: pathlib.Path) -> Weights:
  """Reads a folder with model.safetensors, and most often config.json.

  Raises:
    UserError: another model, or damaged files.
  """
  if (folder / 'config.json').exists():
    config = files.read_json(folder / 'config.json')
    if 'architecture' not in config:  # timm's
      _kind(config, folder)  # said before gigabytes are read
  return read_file(folder / 'model.safetensors')


def _kind(config: dict[str, Any], folder: pathlib.Path) -> str:
  kind = config.get('model_type')
  if kind not in ('vivit', 'vit'):
    raise UserError(
      f"{folder} holds a Hugging Face model of type '{kind}'; those of type "
      "'vivit' and 'vit' can be read."
    )
  return kind


def read_file(path: pathlib.Path) -> Weights:
  """Reads safetensors: timm's by its own names, else with config.json beside.

  Raises:
    UserError: another model, or a damaged file.
  """
  arrays = files.read_safetensors(path)
  if 'blocks.0.attn.qkv.weight' in arrays:
    return _from_timm(arrays, path)
  if not (path.parent / 'config.json').exists():
    raise UserError(
      f'{path} is a safetensors file, but no ViT of timm, and without the '
      'config.json of Hugging Face beside it.'
    )
  return _from_hugging_face(arrays, path.parent)


def _from_hugging_face(
  arrays: Mapping[str, np.ndarray], folder: pathlib.Path
) -> Weights:
  config = files.read_json(folder / 'config.json')
  kind = _kind(config, folder)
  heads = config.get('num_attention_heads')
  if type(heads) is not int or heads < 1:
    raise files.damaged(folder / 'config.json', 'num_attention_heads is absent')
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
    notes.append(_EXACT_GELU)
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


def _from_timm(arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> Weights:
  """Takes q, k and v apart, which are stacked in one array there."""
  shape = arrays['blocks.0.attn.qkv.weight'].shape
  if len(shape) != 2:
    raise files.damaged(path, f'blocks.0.attn.qkv.weight has shape {shape}')
  # Their number is not in the file: of 64 each, but in ViT-H.
  heads = 16 if shape[1] == 1280 else max(shape[1] // 64, 1)
  renamed = torch_names.to_ours(torch_names.from_timm(arrays), heads, path)
  return Weights('timm ViT safetensors', renamed, notes=(_EXACT_GELU,))

"""Image ViTs in npz, as vision_transformer and big_vision release them."""

import pathlib
import re

import numpy as np

from vivit_jax.checkpoints.formats import files
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.errors import UserError

_POSITIONS = 'Transformer/posembed_input/pos_embedding'
_PREFIXES = ('opt/target/', 'params/')
# (pattern of a name, our name); the first match counts.
_RULES = (
  (r'(Transformer/encoderblock_\d+/)LayerNorm_2/(.+)', r'\1LayerNorm_1/\2'),
  (
    r'(Transformer/encoderblock_\d+/MultiHeadDotProductAttention)_\d/(.+)',
    r'\1_0/\2',
  ),
  (r'(Transformer/encoderblock_\d+/MlpBlock)_\d/(.+)', r'\1_0/\2'),
  (r'pos_embedding', _POSITIONS),
  (r'head/(kernel|bias)', r'output_projection/\1'),
  (r'((?:embedding|Transformer|cls|pre_logits|MAPHead_0)(?:/.+)?)', r'\1'),
)


def read(path: pathlib.Path) -> Weights:
  """Reads either naming, with or without a prefix, stacked layers or not."""
  arrays = files.read_npz(path, 'embedding/kernel')
  for prefix in _PREFIXES:
    if all(name.startswith(prefix) for name in arrays):
      arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
    elif any(name.startswith(prefix) for name in arrays):
      arrays = {
        name[len(prefix) :]: array
        for name, array in arrays.items()
        if name.startswith(prefix)
      }
  if 'embedding/kernel' not in arrays:
    raise UserError(
      f'{path} is an npz, but no ViT: it has no embedding/kernel; it has '
      f'{", ".join(list(arrays)[:5])}.'
    )
  naming = 'big_vision' if 'pos_embedding' in arrays else 'vision_transformer'
  arrays = _rename(_unstacked(arrays), path)
  notes = ()
  if 'cls' in arrays and naming == 'big_vision':
    # There, the class token's position is part of the token itself.
    positions = arrays[_POSITIONS]
    nothing = np.zeros_like(positions[:, :1])
    arrays[_POSITIONS] = np.concatenate([nothing, positions], axis=1)
  if any(name.startswith('MAPHead_0/') for name in arrays):
    notes = ('it pools with an attention head (MAPHead_0), which is left over',)
  return Weights(f'image ViT npz ({naming})', arrays, notes=notes)


def _unstacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Takes `Transformer/encoderblock/...` [L, ...] apart into layers."""
  apart = {}
  for name, array in arrays.items():
    match = re.fullmatch(r'Transformer/encoderblock/(.+)', name)
    if not match:
      apart[name] = array
      continue
    for layer, part in enumerate(array):
      apart[f'Transformer/encoderblock_{layer}/{match[1]}'] = part
  return apart


def _rename(
  arrays: dict[str, np.ndarray], path: pathlib.Path
) -> dict[str, np.ndarray]:
  renamed = {}
  for name, array in arrays.items():
    for pattern, ours in _RULES:
      if match := re.fullmatch(pattern, name):
        renamed[match.expand(ours)] = array
        break
    else:
      raise UserError(f'{path} has an array {name}, which is of no ViT.')
  return renamed

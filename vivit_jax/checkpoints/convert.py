"""Weights written in the formats that others read."""

import os
import pathlib

import numpy as np
from flax import serialization

from vivit_jax.checkpoints import formats
from vivit_jax.checkpoints.formats import huggingface, names, native
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.checkpoints.start import grid_of
from vivit_jax.errors import UserError

WRITERS = ('huggingface', 'scenic')


def can_start(weights: Weights) -> str:
  """Returns, for people, which models `init_from` takes these weights for."""
  if weights.is_image:
    return 'all four models, as an image model (paper, section 3.4)'
  return f'{weights.family}, also of other heads, frames, crops and tubelets'


def convert(
  source: str | os.PathLike,
  target: pathlib.Path,
  *,
  to: str,
  frames: int = 32,
  crop: int = 224,
  short_side: int = 256,
) -> None:
  """Writes a checkpoint in another format.

  Args:
    source: of any format that `formats.read` knows.
    target: a folder for 'huggingface', a file for 'scenic'; must not exist.
    to: one of `WRITERS`.
    frames, crop, short_side: of the clips, in pixels; a checkpoint of this
      package knows them itself.

  Raises:
    UserError: a source that cannot be read, or has no place in the format, or
      a target that is there or cannot be written.
  """
  if target.exists():
    raise UserError(f'{target} is there already: choose another name.')
  path = pathlib.Path(source)
  weights = formats.read(path)
  size = (crop, crop)
  if path.is_dir() and native.is_native(path):
    config = native.read(path)[1].config
    frames, size = config.data.frames, config.data.crop
    short_side = config.data.short_side
    _check_tokens(weights, grid_of(config))
  elif not weights.is_image:
    tubelet = weights.arrays['embedding/kernel'].shape[:3]
    sizes = (frames, *size)
    _check_tokens(weights, tuple(s // p for s, p in zip(sizes, tubelet)))
  if to == 'scenic':
    return _write_scenic(weights, target)
  head = 'label' if 'label' in (weights.label_names or {}) else None
  huggingface.write(
    weights,
    target,
    frames=frames,
    crop=size,
    short_side=short_side,
    label_names=weights.label_names[head] if head else None,
  )


def _check_tokens(weights: Weights, grid: tuple[int, ...]) -> None:
  """Raises where clip and positions disagree."""
  if weights.family != 'joint':
    return
  positions = weights.arrays.get('Transformer/posembed_input/pos_embedding')
  if positions is not None and positions.shape[1] != int(np.prod(grid)) + 1:
    raise UserError(
      f'the weights have {positions.shape[1] - 1} positions, but a clip has '
      f'{" x ".join(map(str, grid))} tokens: give --frames and --crop.'
    )


def _write_scenic(weights: Weights, target: pathlib.Path) -> None:
  """Writes flax msgpack with `params`, the reference's newer layout."""
  tree = {
    'params': names.unflatten(weights.arrays),
    'global_step': np.int32(0),
    'model_state': {},
  }
  unfinished = target.with_name(f'.{target.name}.part')
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_bytes(serialization.msgpack_serialize(tree))
    os.replace(unfinished, target)
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None

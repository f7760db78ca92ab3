"""Weights written in the formats that others read."""

import dataclasses
import math
import os
import pathlib
import shutil

import jax
import numpy as np
from flax import serialization

from vivit_jax import config as configs
from vivit_jax import files, models
from vivit_jax.checkpoints import adapt, formats, heads
from vivit_jax.checkpoints.formats import huggingface_export, names, native
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking

WRITERS = ('native', 'huggingface', 'scenic')


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
  frames: int | None = None,
  crop: int | None = None,
  short_side: int | None = None,
  config: TrainConfig | None = None,
) -> None:
  """Writes a checkpoint in another format.

  Args:
    source: of any format that `formats.read` knows.
    target: a folder for 'native' (a workdir to evaluate or to start from) and
      'huggingface', a file for 'scenic'; must not exist.
    to: one of `WRITERS`.
    frames, crop, short_side: of the clips, in pixels, for 'huggingface'; None
      for what the checkpoint tells, or 32, 224 and 256.
    config: of the model, for 'native'.

  Raises:
    UserError: a source that cannot be read, or has no place in the format, or
      a target that is there or cannot be written.
  """
  if target.exists():
    raise UserError(f'{target} is there already: choose another name.')
  path = pathlib.Path(source)
  weights = formats.read(path)
  if to == 'native':
    return _write_native(weights, target, config)
  if to == 'scenic':
    return _write_scenic(weights, target)
  about = native.read(path)[1].config if native.is_native(path) else None
  given = {'frames': frames, 'crop': crop and (crop, crop)}
  given |= {'short_side': short_side}
  clip = _clip(weights, about)
  clip = dataclasses.replace(
    clip, **{key: value for key, value in given.items() if value is not None}
  )
  _check_tokens(weights, clip)
  huggingface_export.write(weights, target, clip)


def _clip(
  weights: Weights, config: TrainConfig | None
) -> huggingface_export.Clip:
  """Returns the clips of a checkpoint, as far as it tells."""
  if config is not None:
    data, tubelet = config.data, config.model.tubelet
    # Of uniform frames, the model sees one of each tubelet.
    period = tubelet[0] if config.model.embedding == 'uniform_frames' else 1
    return huggingface_export.Clip(
      data.frames // period, data.crop, data.short_side, data.mean, data.std
    )
  if weights.grid is not None and not weights.is_image:
    sides = weights.arrays['embedding/kernel'].shape[:3]
    frames, *crop = (n * part for n, part in zip(weights.grid, sides))
    short_side = max(256, *crop)
    return huggingface_export.Clip(frames, tuple(crop), short_side)
  return huggingface_export.Clip()


def _check_tokens(weights: Weights, clip: huggingface_export.Clip) -> None:
  """Raises a UserError where clip and positions disagree."""
  tubelet = weights.arrays['embedding/kernel'].shape[:-2]
  positions = weights.arrays.get('Transformer/posembed_input/pos_embedding')
  if len(tubelet) != 3 or positions is None:
    return  # of no ViViT that could be written
  sizes = (clip.frames, *clip.crop)
  tokens = math.prod(s // p for s, p in zip(sizes, tubelet))
  token = int('cls' in weights.arrays)
  if any(s % p for s, p in zip(sizes, tubelet)) or (
    positions.shape[1] != tokens + token
  ):
    raise UserError(
      f'the weights have {positions.shape[1] - token} positions and tubelets '
      f'of {tubelet}, which are not of clips of {clip.frames} frames of '
      f'{clip.crop} pixels: give --frames and --crop.'
    )


def _write_native(
  weights: Weights, target: pathlib.Path, config: TrainConfig | None
) -> None:
  """Writes a workdir whose only checkpoint, of step 0, holds the weights."""
  if config is None:
    raise UserError('--config is missing: it says which model the weights are.')
  bias = weights.arrays.get('output_projection/bias')
  if bias is None:
    raise UserError('the weights have no head, and cannot be a whole model.')
  label_names = weights.label_names or heads.numbered(
    config.model.heads or {'label': bias.size}
  )
  classes = {head: len(of_head) for head, of_head in label_names.items()}
  config = configs.with_heads(config, classes)
  model = models.build(**configs.model_arguments(config.model))
  clip = jax.ShapeDtypeStruct(
    (1, config.data.frames, *config.data.crop, 3), np.float32
  )
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)['params']
  fresh = names.flatten(
    jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), stacking.unstack(shapes))
  )
  adapted = adapt.adapt(
    weights,
    dict(fresh),
    grid=configs.token_grid(config),
    family=config.model.family,
    order=config.model.order,
  )
  changed = [row for row in adapted.rows if row.what != 'loaded']
  if changed:
    raise UserError(
      f'the weights are not those of the config: {changed[0].name} is '
      f'{changed[0].what} ({changed[0].why}).'
    )
  unfinished = target.with_name(f'.{target.name}.part')
  shutil.rmtree(unfinished, ignore_errors=True)
  try:
    unfinished.mkdir(parents=True)
    (unfinished / 'config.json').write_text(configs.to_json(config))
    with Store(unfinished) as store:
      params = names.unflatten(adapted.arrays)
      about = Description(config, label_names)
      store.save(0, {'params': params}, about)
    os.replace(unfinished, target)
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None


def _write_scenic(weights: Weights, target: pathlib.Path) -> None:
  """Writes flax msgpack with `params`, the reference's newer layout."""
  if weights.order == 'space_time':
    raise UserError(
      f'{weights.family} attends over space first (model.order), and the '
      'reference over time first: there, these weights would be another model.'
    )
  tree = {
    'params': names.unflatten(weights.arrays),
    'global_step': np.int32(0),
    'model_state': {},
  }
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as unfinished:
      unfinished.write_bytes(serialization.msgpack_serialize(tree))
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None

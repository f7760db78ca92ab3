"""Weights written in the formats that others read."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import serialization
from safetensors.numpy import save_file

from vivit_jax import config as configs
from vivit_jax import files
from vivit_jax.checkpoints import foreign, names, sources
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import family as families
from vivit_jax.models.weights import Clip, Weights

WRITERS = ('native', 'huggingface', 'scenic')


def can_start(weights: Weights) -> str:
  """Returns, for people, which models `init_from` takes these weights for."""
  as_they_are = [n for n in families.every() if n in weights.models]
  others = [
    name
    for name, family in families.every().items()
    if set(family.starts_from) & {*weights.models}
  ]
  parts = []
  if as_they_are:
    parts.append(
      f'{" or ".join(as_they_are)}, also of other heads, frames, crops and '
      'tubelets'
    )
  if others:
    parts.append(f'{", ".join(others)}, as {weights.title}')
  return '; '.join(parts) or 'no model of this package'


def describe(weights: Weights) -> str:
  """Returns lines for people: format, model, sizes and parameters."""
  families_of = [
    family
    for name, family in families.every().items()
    if name in weights.models or set(family.starts_from) & {*weights.models}
  ]
  lines = {'format': weights.format, 'model': weights.title}
  if families_of:
    lines |= families_of[0].describe(weights.arrays)
  lines['head'] = foreign.describe_head(weights)
  lines['parameters'] = f'{sum(x.size for x in weights.arrays.values()):,}'
  pairs = [*lines.items(), *(('note', note) for note in weights.notes)]
  pairs.append(('can start', can_start(weights)))
  return '\n'.join(f'{key:>16}  {value}' for key, value in pairs)


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
    source: of any format that `sources.read` knows.
    target: a folder for 'native' (a workdir to evaluate or to start from) and
      'huggingface', a file for 'scenic'; must not exist.
    to: one of `WRITERS`.
    frames, crop, short_side: of the clips, in pixels, for 'huggingface'; None
      for what the checkpoint says, or 32, 224 and 256.
    config: of the model, for 'native', unless the checkpoint has its own.

  Raises:
    UserError: a source that cannot be read, or has no place in the format, or
      a target that exists or cannot be written.
  """
  if target.exists():
    raise UserError(f'{target} is there already: choose another name.')
  path = pathlib.Path(source)
  weights = sources.read(path)
  about = None
  if weights.experiment is not None:
    about = configs.from_mapping(weights.experiment)
  if to == 'native':
    return _write_native(weights, str(path), target, config or about)
  write = _writer(weights, to)
  given = {'frames': frames, 'crop': crop and (crop, crop)}
  given |= {'short_side': short_side}
  clip = dataclasses.replace(
    _clip(about),
    **{key: value for key, value in given.items() if value is not None},
  )
  contents = write(weights, clip)
  if to == 'scenic':
    return _write_msgpack(contents['arrays'], target)
  _write_hugging_face(contents, target)


def _writer(weights: Weights, to: str):
  """Returns what makes the contents of files of a format.

  Raises:
    UserError: no family that the weights are of has the format.
  """
  able = {n: f for n, f in families.every().items() if to in f.exports}
  for name, family in able.items():
    if name in weights.models:
      return family.exports[to]
  raise UserError(
    f'these weights are of {weights.title}, and {to} has only '
    f'{", ".join(able)} of this package.'
  )


def _clip(config: TrainConfig | None) -> Clip:
  """Returns the clips of a checkpoint, as far as its own config says."""
  if config is None:
    return Clip()
  data, model = config.data, config.model
  frames_seen = families.get(model.family).frames_seen
  return Clip(
    frames_seen(model.options, data.frames),
    data.crop,
    data.short_side,
    data.mean,
    data.std,
  )


def _write_native(
  weights: Weights, path: str, target: pathlib.Path, config: TrainConfig | None
) -> None:
  """Writes a workdir whose only checkpoint, of step 0, holds the weights."""
  if config is None:
    raise UserError('--config is missing: it says which model the weights are.')
  loaded = foreign.from_weights(
    weights, path, config, None, say=lambda text: None, exact=True
  )
  unfinished = target.with_name(f'.{target.name}.part')
  shutil.rmtree(unfinished, ignore_errors=True)
  try:
    unfinished.mkdir(parents=True)
    text = configs.to_json(loaded.config)
    (unfinished / 'config.json').write_text(text)
    with Store(unfinished) as store:
      about = Description(loaded.config, loaded.label_names)
      store.save(0, {'params': loaded.params}, about)
    os.replace(unfinished, target)
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None


def _write_msgpack(
  arrays: Mapping[str, np.ndarray], target: pathlib.Path
) -> None:
  """Writes flax msgpack with `params`, scenic's newer layout."""
  tree = {
    'params': names.unflatten(arrays),
    'global_step': np.int32(0),
    'model_state': {},
  }
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as unfinished:
      unfinished.write_bytes(serialization.msgpack_serialize(tree))
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None


def _write_hugging_face(
  contents: Mapping[str, Any], folder: pathlib.Path
) -> None:
  """Writes tensors and configs as a folder, which appears whole."""
  unfinished = folder.with_name(f'.{folder.name}.part')
  try:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(
      contents['tensors'],
      unfinished / 'model.safetensors',
      metadata={'format': 'pt'},
    )
    for name, value in contents.items():
      if name != 'tensors':
        (unfinished / name).write_text(json.dumps(value, indent=2) + '\n')
    os.replace(unfinished, folder)
  except OSError as error:
    raise UserError(f'cannot write {folder}: {error.strerror}.') from None

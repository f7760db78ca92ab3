"""Describes checkpoints, and converts them to other formats."""

import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from flax import serialization
from safetensors.numpy import save_file

from vivit_jax import config as configs
from vivit_jax import files
from vivit_jax.checkpoints import names, pretrained, sources
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import classifier
from vivit_jax.models import family as families
from vivit_jax.models.weights import Clip, Weights

WRITERS = ('native', 'huggingface', 'scenic', 'torchvision', 'videoprism')


def _can_initialise(weights: Weights) -> str:
  """Returns the models that these weights can initialise, as text."""
  models, every = {*weights.models}, families.every()
  same = [name for name in every if name in models]
  others = [
    n for n, family in every.items() if models & {*family.initialises_from}
  ]
  parts = []
  if same:
    parts.append(
      f'{" or ".join(same)}, also with other heads, frames and crops'
    )
  if others:
    parts.append(f'{", ".join(others)}, as {weights.title}')
  return '; '.join(parts) or 'no model of this package'


def describe(weights: Weights) -> str:
  """Returns a text with format, model, sizes and number of parameters."""
  lines = {'format': weights.format, 'model': weights.title}
  for name, family in families.every().items():
    if {name, *family.initialises_from} & {*weights.models}:
      lines |= family.describe(weights.arrays)
      break
  if weights.heads_unknown:
    lines |= {key: 'not stated' for key in lines if key.endswith('heads')}
  options = {k: x for k, x in weights.options.items() if x is not None}
  if options:
    lines['options'] = ', '.join(f'{key} {x}' for key, x in options.items())
  classes = classifier.classes_of(weights.arrays)
  lines['head'] = 'none' if classes is None else f'{classes} classes'
  lines['parameters'] = f'{sum(x.size for x in weights.arrays.values()):,}'
  notes = [*weights.notes, *([weights.obstacle] if weights.obstacle else [])]
  pairs = [*lines.items(), *(('note', note) for note in notes)]
  pairs.append(('can initialise', _can_initialise(weights)))
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
) -> list[str]:
  """Converts a checkpoint to another format.

  Returns notes for the user, on what the source does not state.

  Args:
    source: path of a checkpoint of any known format.
    target: a new folder for 'native' (a workdir) and 'huggingface', a new file
      for 'scenic' (msgpack), 'torchvision' (safetensors), 'videoprism' (npz).
    to: one of `WRITERS`.
    frames, crop, short_side: for 'huggingface': frames per clip, pixels of the
      square crop and of the resized video's short side; None: the checkpoint's
      values, or 32, 224 and 256.
    config: for 'native' and 'huggingface', if the checkpoint does not state its
      config.

  Raises:
    UserError: a source that cannot be read or converted, or a target that
      exists or cannot be written.
  """
  files.check_local(target)
  if target.exists():
    raise UserError(f'{target} exists already: choose another name.')
  weights = sources.read(source)
  notes = list(weights.notes) if config is None else []
  if config is None and weights.experiment:
    config = configs.from_mapping(weights.experiment)
  if config is None and weights.obstacle and to in ('native', 'huggingface'):
    raise UserError(weights.obstacle)
  if to == 'native':
    _write_native(weights, str(source), target, config)
    return notes
  changes = {
    'frames': frames,
    'crop': crop and (crop, crop),
    'short_side': short_side,
  }
  changes = {key: x for key, x in changes.items() if x is not None}
  clip = dataclasses.replace(_clip(config), **changes)
  contents = dict(_exporter(weights, to)(weights, clip))
  notes += contents.pop('notes', [])
  if to == 'scenic':
    _write_msgpack(contents['arrays'], target)
  elif to == 'videoprism':
    with _unfinished(target) as path, open(path, 'wb') as file:
      np.savez(file, **contents['arrays'])
  elif to == 'torchvision':
    with _unfinished(target) as file:
      _write_tensors(contents['tensors'], file)
  else:
    _write_hugging_face(contents, target)
  return notes


def _exporter(weights: Weights, to: str) -> Callable[..., Mapping[str, Any]]:
  """Returns the function that exports these weights to a format.

  Raises:
    UserError: none of their families supports the format.
  """
  able = {n: f for n, f in families.every().items() if to in f.exports}
  for name, family in able.items():
    if name in weights.models:
      return family.exports[to]
  raise UserError(
    f'these weights are of {weights.title}, but {to} supports only '
    f'{", ".join(able)}.'
  )


def _clip(config: TrainConfig | None) -> Clip:
  """Returns a model's input; the default one without a config."""
  if config is None:
    return Clip()
  data, model = config.data, config.model
  return Clip(
    families.get(model.family).frames_used(
      model.options, data.frames // data.clips
    ),
    data.crop,
    data.short_side,
    data.mean,
    data.std,
  )


@contextlib.contextmanager
def _unfinished(target: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the path of a new file or folder; renames it to target at the end.

  Raises:
    UserError: the target cannot be written.
  """
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.', dir=target.parent) as folder:
      path = pathlib.Path(folder, target.name)
      yield path
      os.replace(path, target)
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}.') from None


def _write_native(
  weights: Weights, path: str, target: pathlib.Path, config: TrainConfig | None
) -> None:
  """Writes a workdir whose only checkpoint, at step 0, has the weights."""
  if config is None:
    raise UserError(
      f'set --config to the config of the model: {path} does not state it.'
    )
  loaded = pretrained.from_weights(
    weights, path, config, None, say=lambda text: None, exact=True
  )
  with _unfinished(target) as folder:
    folder.mkdir()
    text = configs.to_json(loaded.config)
    (folder / 'config.json').write_text(text)
    with Store(folder) as store:
      about = Description(loaded.config, loaded.label_names)
      store.save(0, {'params': loaded.params}, about)


def _write_msgpack(
  arrays: Mapping[str, np.ndarray], target: pathlib.Path
) -> None:
  """Writes Flax msgpack with `params`, scenic's newer layout."""
  tree = {
    'params': names.unflatten(arrays),
    'global_step': np.int32(0),
    'model_state': {},
  }
  with _unfinished(target) as file:
    file.write_bytes(serialization.msgpack_serialize(tree))


def _write_tensors(tensors: Mapping[str, np.ndarray], path: pathlib.Path):
  """Writes safetensors of torch's arrays."""
  save_file(tensors, path, metadata={'format': 'pt'})


def _write_hugging_face(
  contents: Mapping[str, Any], target: pathlib.Path
) -> None:
  """Writes a folder of safetensors and JSON files."""
  with _unfinished(target) as folder:
    folder.mkdir()
    _write_tensors(contents['tensors'], folder / 'model.safetensors')
    for name, value in contents.items():
      if name != 'tensors':
        (folder / name).write_text(json.dumps(value, indent=2) + '\n')

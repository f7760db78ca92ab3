"""Checkpoints of any format as the model of a config."""

import dataclasses
import os
from collections.abc import Callable, Mapping

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import typed
from vivit_jax.checkpoints import class_order as orders
from vivit_jax.checkpoints import merge, names, sources
from vivit_jax.checkpoints.loaded import (
  ASSUMED_ORDER,
  CONFIGS_ORDER,
  OWN_ORDER,
  LoadedModel,
)
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import builder, classifier, stacking
from vivit_jax.models import family as families
from vivit_jax.models.weights import Weights


def read(
  path: str | os.PathLike,
  config: TrainConfig,
  grid: families.Grid | None = None,
) -> Weights:
  """Reads a checkpoint of any format, completed by what a config says of it.

  Args:
    path: of the checkpoint.
    config: with `init_grid`, `init_options`, and whether weights are averaged.
    grid: t, h and w of the checkpoint's tokens, where neither it nor the config
      says.

  Raises:
    UserError: a file that cannot be read.
  """
  source = sources.read(path, ema=config.evaluation.ema)
  known = typed.keys(type(config.model.options))
  for key in config.init_options:
    if key not in known:
      raise UserError(
        f'init_options.{key}: {config.model.family} has the options '
        f'{", ".join(known)}.{nearest(key, known)}'
      )
  return dataclasses.replace(
    source,
    grid=config.init_grid or source.grid or grid,
    options={**source.options, **config.init_options},
  )


def from_file(
  path: str | os.PathLike,
  config: TrainConfig,
  dataset_names: orders.Names,
  grid: families.Grid | None = None,
) -> LoadedModel:
  """Reads a checkpoint of any format to score it on a dataset.

  Args:
    path: of the checkpoint.
    config: of the model and its clips.
    dataset_names: of each head's classes.
    grid: t, h and w of the checkpoint's tokens, where the clips are others than
      its own and it does not say.

  Raises:
    UserError: a file that cannot be read; else as `from_weights`.
  """
  source = read(path, config, grid)
  return from_weights(source, str(path), config, dataset_names)


def from_weights(
  source: Weights,
  path: str,
  config: TrainConfig,
  dataset_names: orders.Names | None,
  say: Callable[[str], object] = print,
  exact: bool = False,
) -> LoadedModel:
  """Takes weights that were read as the model of a config.

  The outputs' names are those of `config.class_order`, else the checkpoint's
  own; where they are in another order than the dataset's, the outputs are put
  into the dataset's. Where there are neither, the dataset's order is assumed,
  and a note says so.

  Args:
    source: the weights.
    path: where they are from.
    config: of the model.
    dataset_names: None without a dataset: then outputs stay as they are, and
      without any names are called 'class 0' and so on.
    say: gets an account of all arrays.
    exact: whether every array must be as the config's model has it.

  Raises:
    UserError: weights that do not fit the model whole, or names that are not
      the dataset's.
  """
  of_dataset = dataset_names is not None
  if not of_dataset:
    dataset_names = _names(source, path, config)
  config = configs.resolve_heads(config, dataset_names)
  source = merge.reading_of(source, configs.target(config))
  _check_same_model(source, path, config)
  merged = merged_with(source, zeros(config), config, dataset_names)
  if of_dataset:
    _check_classes(path, source, config)
  check_whole(merged, source, path)
  adapted = [row for row in merged.rows if row.what == 'adapted']
  if exact and adapted:
    raise UserError(
      f'the weights are not those of the config: {adapted[0].name} would be '
      f'adapted ({adapted[0].why}).'
    )
  say(merged.table())
  order = _class_order(source, config)
  if of_dataset and order == ASSUMED_ORDER:
    say(
      f'{"note":>10}  the checkpoint does not name its classes: they are taken '
      "to be in the dataset's order; --config.class_order=FILE.json names them"
    )
  known = {head: list(dataset_names[head]) for head in config.model.heads}
  return LoadedModel(
    path,
    config,
    names.unflatten(merged.arrays),
    known,
    step=source.step,
    class_order=order,
    averaged=source.averaged,
  )


def merged_with(
  source: Weights,
  fresh: Mapping[str, np.ndarray],
  config: TrainConfig,
  label_names: orders.Names | None,
) -> merge.Merged:
  """Fits a checkpoint to the model of a config, which has its heads."""
  if label_names is not None:
    label_names = {head: label_names[head] for head in config.model.heads}
  return merge.merge(
    source,
    fresh,
    configs.target(config),
    class_order=orders.order_of(config.class_order, source.label_names),
    label_names=label_names,
  )


def _class_order(source: Weights, config: TrainConfig) -> str:
  """Returns where the class order comes from."""
  named = orders.order_of(config.class_order, source.label_names)
  if not set(config.model.heads) <= set(named):
    return ASSUMED_ORDER
  return OWN_ORDER if config.class_order is None else CONFIGS_ORDER


def _check_same_model(source: Weights, path: str, config: TrainConfig) -> None:
  """Raises a UserError for a run's weights under another model's keys."""
  other = merge.differences(source, configs.target(config))
  if source.pool is not None and other:  # this package's own: it says all
    raise UserError(
      f'{path} was trained with {"; with ".join(other)}: it would compute '
      "something else; leave --config out, or set the run's own value."
    )


def zeros(config: TrainConfig) -> dict[str, np.ndarray]:
  """Returns zero parameters of the config's model, flat, layers one by one.

  Nothing of them is kept: whatever a checkpoint lacks is an error.
  """
  shapes = builder.shapes(config.model, config.data.frames, config.data.crop)
  zeros = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), stacking.unstack(shapes)
  )
  return dict(names.flatten(zeros))


def _check_classes(
  path: str | os.PathLike, source: Weights, config: TrainConfig
) -> None:
  """Raises a UserError for another number of classes than the dataset's."""
  classes = classifier.classes_of(source.arrays)
  heads = config.model.heads
  if classes is not None and classes != sum(heads.values()):
    wanted = ', '.join(f'{head} {number}' for head, number in heads.items())
    raise UserError(
      f'{path} has {classes} classes, but the dataset {config.data.dataset} '
      f'has {sum(heads.values())} ({wanted}): evaluate it on the dataset that '
      'it was trained on, or train a head for this one, by --config.init_from.'
    )


def check_whole(merged: merge.Merged, source: Weights, what: str) -> None:
  """Raises a UserError unless checkpoint and model have the same arrays."""
  missing = [row for row in merged.rows if row.what == 'fresh']
  if missing:
    raise UserError(
      f'{what} does not hold the whole model: {missing[0].name} would be '
      f'random ({missing[0].why}); to train from it, use --config.init_from.'
    )
  unused = [
    row
    for row in merged.rows
    if row.what == 'left over' and row.name not in source.spare
  ]
  if unused:
    raise UserError(
      f'{what} is more than the model: {unused[0].name} would be left out '
      f'({unused[0].why}): give the config of the whole model.'
    )


def _names(
  source: Weights, path: str, config: TrainConfig
) -> dict[str, list[str]]:
  """Returns what the outputs of a checkpoint are called, in their order."""
  outputs = classifier.classes_of(source.arrays)
  if outputs is None:
    raise UserError(
      f'{path} has no head that tells classes apart: train it first, from '
      '--config.init_from.'
    )
  known = orders.order_of(config.class_order, source.label_names)
  known = known or source.label_names
  if not known:
    return orders.numbered(config.model.heads or {'label': outputs})
  classes = {head: len(of_head) for head, of_head in known.items()}
  if sum(classes.values()) != outputs:
    raise UserError(
      f'the names of classes are {classes}, and {path} has {outputs} outputs: '
      'give the names of all outputs, in their order.'
    )
  if config.model.heads and dict(config.model.heads) != classes:
    raise UserError(
      f'model.heads of the config are {dict(config.model.heads)}, and the '
      f'classes of {path} are named for {classes}: leave model.heads out.'
    )
  return {head: list(of_head) for head, of_head in known.items()}


def describe_head(source: Weights) -> str:
  """Returns how many classes a checkpoint's head has, for people."""
  classes = classifier.classes_of(source.arrays)
  return 'none' if classes is None else f'{classes} classes'

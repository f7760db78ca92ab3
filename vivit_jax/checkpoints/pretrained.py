"""Loads weights of any format into the model of a config."""

import dataclasses
import os
from collections.abc import Callable, Mapping

import flax
import jax

from vivit_jax import config as configs
from vivit_jax import typed
from vivit_jax.checkpoints import class_order as orders
from vivit_jax.checkpoints import merge, names, sources
from vivit_jax.checkpoints.loaded import (
  ASSUMED_ORDER,
  CONFIG_ORDER,
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
  """Reads a checkpoint of any format.

  `init_grid` and `init_options` of the config override what the file states.

  Args:
    path: of the checkpoint.
    config: config of the model to load into.
    grid: token grid (t, h, w) if neither checkpoint nor config states one.

  Raises:
    UserError: a file that cannot be read, or an unknown option.
  """
  known = typed.keys(type(config.model.options))
  for key in config.init_options:
    if key not in known:
      raise UserError(
        f'init_options.{key} is unknown; {config.model.family} has the options '
        f'{", ".join(known)}.{nearest(key, known)}'
      )
  stated = typed.parse(
    type(config.model.options),
    config.init_options,
    'init_options',
    lambda key: f'{key} is unknown.',
  )
  stated = {key: getattr(stated, key) for key in config.init_options}
  source = sources.read(path, ema=config.evaluation.ema)
  return dataclasses.replace(
    source,
    grid=config.init_grid or source.grid or grid,
    options={**source.options, **stated},
  )


def from_file(
  path: str | os.PathLike,
  config: TrainConfig,
  dataset_names: orders.Names,
  grid: families.Grid | None = None,
) -> LoadedModel:
  """Loads a checkpoint of any format to evaluate it on a dataset.

  See `read` and `from_weights` for arguments and errors.
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
  headless: bool = False,
) -> LoadedModel:
  """Returns the model of a config with the given weights.

  Class names come from `config.class_order`, else from the checkpoint. If the
  dataset has another order, outputs are reordered. Without class names, the
  dataset's order is assumed, and a note is added to the table.

  Args:
    source: the weights.
    path: of their file, for messages.
    config: config of the model and its clips.
    dataset_names: the dataset's class names. None without a dataset: outputs
      keep their order, and unnamed classes become 'class 0', 'class 1', ...
    say: receives the table of arrays.
    exact: whether to refuse adapted arrays.
    headless: whether weights without a head give a model without one.

  Raises:
    UserError: weights that do not fit the whole model, or other classes than
      the dataset's.
  """
  named = orders.order_of(config.class_order, source.label_names)
  wanted = dataset_names
  if headless and classifier.classes_of(source.arrays) is None:
    wanted, config = {}, configs.with_heads(config, {})
  if wanted is None:
    wanted = _names(source, path, config, named or source.label_names)
  config = configs.resolve_heads(config, wanted)
  wanted = {head: list(wanted[head]) for head in config.model.heads}
  _check_same_model(source, path, config)
  merged = merge.merge(
    source,
    shapes(config),
    configs.target(config),
    class_order=named,
    label_names=wanted,
  )
  if dataset_names is not None:
    _check_classes(path, source, config)
  check_whole(merged, source, path)
  adapted = [row for row in merged.rows if row.status == 'adapted']
  if exact and adapted:
    raise UserError(
      f'the weights do not fit the config: {adapted[0].name} would be adapted '
      f'({adapted[0].reason}).'
    )
  say(merged.table())
  order = OWN_ORDER if config.class_order is None else CONFIG_ORDER
  if not set(wanted) <= set(named):
    order = ASSUMED_ORDER
  if dataset_names is not None and order == ASSUMED_ORDER:
    say(
      f"{'note':>10}  the checkpoint does not name its classes: the dataset's "
      'order is assumed; --config.class_order=FILE.json sets it'
    )
  return LoadedModel(
    path,
    config,
    names.unflatten(merged.arrays),
    wanted,
    [head for head in source.multi_label if head in wanted],
    step=source.step,
    class_order=order,
    averaged=source.averaged,
  )


def _check_same_model(source: Weights, path: str, config: TrainConfig) -> None:
  """Raises a UserError if a run's weights would be used with other settings."""
  different = merge.differences(source, configs.target(config))
  if source.pool is not None and different:  # a checkpoint of this package
    raise UserError(
      f'{path} was trained with {"; with ".join(different)}: leave --config '
      "out, or use the run's values."
    )


def shapes(config: TrainConfig) -> Mapping[str, jax.ShapeDtypeStruct]:
  """Returns parameter shapes and dtypes by flat name, blocks unstacked."""
  tree = builder.shapes(config.model, config.data.frames, config.data.crop)
  return flax.traverse_util.flatten_dict(stacking.unstack(tree), sep='/')


def _check_classes(path: str, source: Weights, config: TrainConfig) -> None:
  """Raises a UserError if checkpoint and dataset differ in class count."""
  classes = classifier.classes_of(source.arrays)
  heads = config.model.heads
  if classes is not None and classes != sum(heads.values()):
    wanted = ', '.join(f'{head} {number}' for head, number in heads.items())
    raise UserError(
      f'{path} has {classes} classes, but the dataset {config.data.dataset} '
      f'has {sum(heads.values())} ({wanted}): evaluate on the training '
      'dataset, or train a new head with --config.init_from.'
    )


def check_whole(merged: merge.Merged, source: Weights, what: str) -> None:
  """Raises a UserError unless checkpoint and model have the same arrays."""
  for row in merged.rows:
    if row.status == 'fresh':
      raise UserError(
        f'{what} does not have the whole model: {row.name} is missing '
        f'({row.reason}); to train from it, use --config.init_from.'
      )
    if row.status == 'unused' and row.name not in source.spare:
      raise UserError(
        f'{what} has more than the model: {row.name} would be unused '
        f'({row.reason}): use the config of the whole model.'
      )


def _names(
  source: Weights, path: str, config: TrainConfig, known: orders.Names | None
) -> orders.Names:
  """Returns the known class names, or placeholders; checks their number."""
  outputs = classifier.classes_of(source.arrays)
  if outputs is None:
    raise UserError(
      f'{path} has no head: train one first, with --config.init_from.'
    )
  if outputs == 1:
    raise UserError(
      f'{path} has a head of one class, not two or more: train another, with '
      '--config.init_from.'
    )
  if not known:
    return {
      head: [f'class {number}' for number in range(classes)]
      for head, classes in (config.model.heads or {'label': outputs}).items()
    }
  classes = {head: len(of_head) for head, of_head in known.items()}
  if sum(classes.values()) != outputs:
    raise UserError(
      f'there are names for the classes {classes}, but {path} has {outputs} '
      'outputs: name all of them, in their order.'
    )
  if config.model.heads and dict(config.model.heads) != classes:
    raise UserError(
      f'model.heads is {dict(config.model.heads)}, but {path} has names for '
      f'{classes}: leave model.heads out.'
    )
  return known

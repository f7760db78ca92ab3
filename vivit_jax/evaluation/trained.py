"""A trained model to score: of a run, or of anybody's checkpoint."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints import adapt, fit, heads, start
from vivit_jax.checkpoints.formats import Weights, names, native
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.training import workdir as workdirs

# Whose word it is that an output is a class.
OWN_ORDER = "the checkpoint's"
CONFIGS_ORDER = 'config.class_order'
ASSUMED_ORDER = "assumed: the dataset's"


@dataclasses.dataclass(frozen=True)
class Trained:
  """A model's parameters, and what its outputs are called.

  Attributes:
    name: of the checkpoint, for people.
    config: what the model is, and how clips are made of videos.
    params: nested, layers one by one.
    label_names: of each head, in the order of the outputs.
    multi_label: heads of which a video may have any number of labels.
    step: of the run; None for a checkpoint without one.
    class_order: whose word it is that the outputs are these classes.
    averaged: the parameters are the moving average of the training's.
  """

  name: str
  config: TrainConfig
  params: Any
  label_names: Mapping[str, list[str]]
  multi_label: Collection[str] = ()
  step: int | None = None
  class_order: str = OWN_ORDER
  averaged: bool = False

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of all parameters: their names, types, shapes and bytes.

    The same weights have the same digest, whatever file they are read from.
    """
    total = hashlib.sha256()
    for name, array in sorted(names.flatten(self.params)):
      total.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return total.hexdigest()


def from_workdir(
  workdir: str | os.PathLike,
  checkpoint: str,
  override: Callable[[TrainConfig], TrainConfig],
) -> Trained:
  """Reads a checkpoint of a run, as its config.json has it now.

  Where the clips are changed, so are the positions, as those of `init_from`.

  Args:
    workdir: of the run.
    checkpoint: 'best', 'last', or a step's number.
    override: changes the run's config.

  Raises:
    UserError: no such run or checkpoint, a damaged one, or one of another
      config than the folder's.
  """
  if not pathlib.Path(workdir).is_dir():
    raise UserError(f'there is no workdir {workdir}: train into it first.')
  config = workdirs.read_config(workdir)
  return from_checkpoint(workdir, checkpoint, config, override)


def from_checkpoint(
  workdir: str | os.PathLike,
  checkpoint: str,
  config: TrainConfig,
  override: Callable[[TrainConfig], TrainConfig],
) -> Trained:
  """Does what `from_workdir` does, without its config.json."""
  with _open_store(workdir, checkpoint) as store:
    step = store.find(checkpoint)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    workdirs.check_same(about.config, config, workdir)
    config = override(config)
    averaged = config.evaluation.ema and store.has_average(step)
    params = store.restore_parameters(step, 'ema' if averaged else 'params')
  known = {head: about.label_names[head] for head in config.model.heads}
  name = f'step {step}' + (', averaged weights' if averaged else '')
  if configs.token_grid(config) != configs.token_grid(about.config):
    adapted = adapt.adapt(
      native.as_weights(params, about, name),
      dict(names.flatten(_fresh(config))),
      grid=configs.token_grid(config),
      family=config.model.family,
      order=config.model.order,
    )
    _check_whole(adapted, f'{name} of {workdir}')
    print(f'{name}, for clips of another size:\n{adapted.table()}', flush=True)
    params = names.unflatten(adapted.arrays)
  return Trained(
    name,
    config,
    params,
    known,
    about.multi_label,
    step,
    averaged=averaged,
  )


def _open_store(workdir: str | os.PathLike, checkpoint: str) -> Store:
  """Opens a run's checkpoints; their metrics are read for the best alone."""
  if checkpoint == 'best':
    return Store.of_run(workdir)
  return Store(workdir, read_only=True, best_metric=None)


def from_file(
  path: str | os.PathLike,
  config: TrainConfig,
  dataset_names: Mapping[str, list[str]],
  grid: fit.Grid | None = None,
) -> Trained:
  """Reads a checkpoint of any format as the model of a config.

  The outputs' names are those of `config.class_order`, else the checkpoint's
  own; where they are in another order than the dataset's, the outputs are put
  into the dataset's. Where there are neither, they are taken to be in the
  dataset's order, and it is told.

  Args:
    path: of the checkpoint.
    config: of the model and its clips.
    dataset_names: of each head's classes.
    grid: t, h and w of the checkpoint's tokens, where the clips are others than
      its own and it does not tell.

  Raises:
    UserError: a file that cannot be read; else as `from_weights`.
  """
  source = start.read(path, config, grid)
  return from_weights(source, str(path), config, dataset_names)


def from_weights(
  source: Weights,
  path: str,
  config: TrainConfig,
  dataset_names: Mapping[str, list[str]] | None,
  say: Callable[[str], object] = print,
) -> Trained:
  """Takes weights that were read as the model of a config; see `from_file`.

  Args:
    source: the weights.
    path: where they are from.
    config: of the model.
    dataset_names: None without a dataset: then outputs stay as they are, and
      without any names are called 'class 0' and so on.
    say: gets an account of all arrays.

  Raises:
    UserError: weights that do not fit the model whole, or names that are not
      the dataset's.
  """
  of_dataset = dataset_names is not None
  if not of_dataset:
    dataset_names = _names(source, path, config)
  config = configs.resolve_heads(config, dataset_names)
  adapted = start.as_model(source, _fresh(config), config, dataset_names)
  if of_dataset:
    _check_classes(path, source, config)
  _check_whole(adapted, path)
  say(adapted.table())
  for note in source.notes:
    say(f'{"note":>10}  {note}')
  order = _class_order(source, config)
  if of_dataset and order == ASSUMED_ORDER:
    say(
      f'{"note":>10}  the checkpoint does not name its classes: they are taken '
      "to be in the dataset's order; --config.class_order=FILE.json names them"
    )
  known = {head: dataset_names[head] for head in config.model.heads}
  return Trained(
    path,
    config,
    names.unflatten(adapted.arrays),
    known,
    step=source.step,
    class_order=order,
    averaged=source.averaged,
  )


def _class_order(source: Weights, config: TrainConfig) -> str:
  """Returns whose word the order of the outputs is."""
  named = heads.order_of(config.class_order, source.label_names)
  if not set(config.model.heads) <= set(named):
    return ASSUMED_ORDER
  return OWN_ORDER if config.class_order is None else CONFIGS_ORDER


def _fresh(config: TrainConfig) -> Any:
  """Returns parameters of the config's model, layers one by one, all zero.

  Nothing of them is kept: whatever a checkpoint lacks is an error.
  """
  model = models.build(**configs.model_arguments(config.model))
  clip = jax.ShapeDtypeStruct(
    (1, config.data.frames, *config.data.crop, 3), np.float32
  )
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)['params']
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return stacking.unstack(zeros)


def _check_classes(
  path: str | os.PathLike, source: Weights, config: TrainConfig
) -> None:
  """Raises a UserError for another number of classes than the dataset's."""
  bias = source.arrays.get('output_projection/bias')
  heads = config.model.heads
  if bias is not None and bias.size != sum(heads.values()):
    wanted = ', '.join(f'{head} {classes}' for head, classes in heads.items())
    raise UserError(
      f'{path} has {bias.size} classes, but the dataset {config.data.dataset} '
      f'has {sum(heads.values())} ({wanted}): evaluate it on the dataset that '
      'it was trained on, or train a head for this one, by --config.init_from.'
    )


def _check_whole(adapted: adapt.Adapted, what: str) -> None:
  """Raises a UserError unless checkpoint and model have the same arrays."""
  missing = [row for row in adapted.rows if row.what == 'fresh']
  if missing:
    raise UserError(
      f'{what} does not hold the whole model: {missing[0].name} would be '
      f'random ({missing[0].why}); to train from it, use --config.init_from.'
    )
  # A Hugging Face ViT's pooler is not before its own classifier either.
  unused = [
    row
    for row in adapted.rows
    if row.what == 'left over' and not row.name.startswith('pooler/')
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
  bias = source.arrays.get('output_projection/bias')
  if bias is None:
    raise UserError(
      f'{path} has no head that tells classes apart: train it first, from '
      '--config.init_from.'
    )
  told = heads.order_of(config.class_order, source.label_names)
  told = told or source.label_names
  if not told:
    return heads.numbered(config.model.heads or {'label': bias.size})
  classes = {head: len(of_head) for head, of_head in told.items()}
  if sum(classes.values()) != bias.size:
    raise UserError(
      f'the names of classes are {classes}, and {path} has {bias.size} '
      'outputs: give the names of all outputs, in their order.'
    )
  if config.model.heads and dict(config.model.heads) != classes:
    raise UserError(
      f'model.heads of the config are {dict(config.model.heads)}, and the '
      f'classes of {path} are named for {classes}: leave model.heads out.'
    )
  return {head: list(of_head) for head, of_head in told.items()}

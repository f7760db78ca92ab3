"""Loads models with weights, labels and preprocessing from any checkpoint."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from vivit_jax import config as configs
from vivit_jax import config_file, models
from vivit_jax.checkpoints import class_order as orders
from vivit_jax.checkpoints import merge, names, pretrained, sources
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.checkpoints.loaded import (
  ASSUMED_ORDER,
  GIVEN_ORDER,
  LoadedModel,
)
from vivit_jax.checkpoints.metadata import last_description
from vivit_jax.checkpoints.sources import hub, native
from vivit_jax.config import TrainConfig
from vivit_jax.data import annotations
from vivit_jax.errors import UserError
from vivit_jax.models import classifier, stacking
from vivit_jax.models import family as families
from vivit_jax.models.weights import Weights

Override = Callable[[TrainConfig], TrainConfig]


def load(
  path: str | os.PathLike,
  *,
  checkpoint: str | int = 'best',
  config: TrainConfig | str | os.PathLike | None = None,
  class_order: orders.Names | str | os.PathLike | None = None,
  multi_label: Collection[str] | None = None,
  override: Override = lambda config: config,
  say: Callable[[str], object] = lambda text: None,
  headless: bool = False,
) -> LoadedModel:
  """Loads a model from a checkpoint of any format.

  Of workdirs, Hugging Face folders, and the authors' files of TimeSformer, VTN
  and STAM, the config is known. Other formats need `config`.

  Args:
    path: of a workdir or checkpoint, or a checkpoint's name on the Hugging
      Face Hub.
    checkpoint: which checkpoint of a workdir: 'best', 'last', or a step.
    config: a config (`TrainConfig` or ConfigDict) or config file; None for the
      checkpoint's.
    class_order: head -> class names in output order, or a JSON file of them;
      None for `class_order` of a given config, else the checkpoint's names,
      else those of the config's prepared dataset if it has as many classes,
      else 'class 0' and so on.
    multi_label: heads that allow several labels per video; None for the
      checkpoint's.
    override: changes the config.
    say: prints the table of arrays, for other projects' formats.
    headless: see `pretrained.from_weights`.

  Raises:
    UserError: a missing or damaged checkpoint, no config, or weights or names
      that do not fit the config.
  """
  place = hub.local(path)
  if not place.exists():
    raise UserError(f'there is no checkpoint at {path}.')
  if isinstance(class_order, (str, os.PathLike)):
    class_order = annotations.read_label_names(class_order)
  elif class_order is not None:
    class_order = annotations.checked_names(class_order, 'class_order')
  if config is None and native.is_native(place):
    workdir, which = native.locate(place)
    which = str(checkpoint) if which == 'best' else which
    loaded = from_run(workdir, which, override)
    if class_order is not None:
      loaded = _with_label_names(loaded, class_order)
  else:
    loaded = _from_source(path, config, class_order, override, say, headless)
  if class_order is not None:
    loaded = dataclasses.replace(loaded, class_order=GIVEN_ORDER)
  for head in multi_label or ():
    if head not in loaded.label_names:
      raise UserError(
        f"multi_label: unknown head '{head}'; the heads are "
        f'{", ".join(loaded.label_names)}.'
      )
  if multi_label is not None:
    loaded = dataclasses.replace(loaded, multi_label=tuple(multi_label))
  return loaded


def from_run(
  workdir: str | os.PathLike,
  checkpoint: str,
  override: Override = lambda config: config,
) -> LoadedModel:
  """Loads a checkpoint of a run.

  The config is the workdir's config.json, or the checkpoint's if that file is
  missing. Position embeddings etc. are resized if `override` changes the clips,
  as for `init_from`. `checkpoint` is 'best', 'last', or a step.

  Raises:
    UserError: the run or checkpoint is missing or damaged, or its config is
      not the workdir's.
  """
  workdir = pathlib.Path(workdir)
  if not workdir.is_dir():
    raise UserError(
      f'there is no workdir {workdir}: train first, with this --workdir.'
    )
  newest = None
  if not (workdir / 'config.json').exists():
    newest = last_description(workdir)
    if newest is None and (workdir / 'checkpoints').is_dir():
      raise UserError(f'{workdir} has no finished checkpoint yet.')
  own = newest.config if newest else workdirs.read_config(workdir)
  config = override(own)
  restored = native.restore(workdir, checkpoint, config.evaluation.ema)
  about = restored.about
  workdirs.check_same(about.config, own, workdir)
  params = restored.params
  if configs.target(config) != configs.target(about.config):
    params = _resized(restored, config, workdir)
  return LoadedModel(
    restored.name,
    config,
    params,
    {head: about.label_names[head] for head in config.model.heads},
    about.multi_label,
    restored.step,
    averaged=restored.averaged,
  )


def _resized(
  restored: native.Restored, config: TrainConfig, workdir: pathlib.Path
) -> Any:
  """Returns a run's parameters, resized for other clips; prints the changes."""
  source, name = restored.as_weights(), restored.name
  target = configs.target(config)
  merged = merge.merge(source, pretrained.shapes(config), target)
  pretrained.check_whole(merged, source, f'{name} of {workdir}')
  if any(row.status != 'loaded' for row in merged.rows):
    print(f'{name}, for clips of another size:\n{merged.table()}', flush=True)
  return names.unflatten(merged.arrays)


def initialise(
  params: Any,
  config: TrainConfig,
  label_names: orders.Names | None = None,
  show: bool = True,
) -> Any:
  """Returns initial parameters with the weights of `config.init_from`.

  Step and optimiser state are not loaded.

  Args:
    params: the model's initial values, blocks stacked or not.
    config: of the run.
    label_names: of the dataset; the head is loaded if its classes are the same.
    show: prints the table of arrays.

  Raises:
    UserError: a file that cannot be read, or weights that do not fit.
  """
  source = pretrained.read(config.init_from, config)
  if label_names is not None:
    label_names = {head: label_names[head] for head in config.model.heads}
  merged = merge.merge(
    source,
    names.flatten(stacking.unstack(params)),
    configs.target(config),
    class_order=orders.order_of(config.class_order, source.label_names),
    label_names=label_names,
  )
  if show:
    print(f'starting from {config.init_from} ({source.format}):')
    print(merged.table(), flush=True)
  loaded = names.unflatten(merged.arrays)
  if config.model.scan:
    loaded = stacking.stack(loaded)
  return jax.tree.map(lambda _, x: jnp.asarray(x), params, loaded)


def _from_source(
  path: str | os.PathLike,
  config: TrainConfig | str | os.PathLike | None,
  label_names: orders.Names | None,
  override: Override,
  say: Callable[[str], object],
  headless: bool,
) -> LoadedModel:
  """Loads a checkpoint of any format with the given config or its own."""
  source = None
  if isinstance(config, TrainConfig):
    configs.check(config)
  elif hasattr(config, 'to_dict'):
    config = configs.resolve(config)
  elif config is not None:
    config = config_file.run(str(config))
  else:
    source = sources.read(path)
    config = _own_config(source, path)
  config = override(config)
  source = source or pretrained.read(path, config)
  assumed = None
  if label_names is not None:
    config = dataclasses.replace(config, class_order=None)
  elif classifier.classes_of(source.arrays) and not orders.order_of(
    config.class_order, source.label_names
  ):
    assumed = label_names = _prepared_names(source, config)
    how = (
      f'those of {config.data.dataset} in {config.data.data_dir} are assumed'
      if assumed
      else 'they are numbered'
    )
    say(
      f'{"note":>10}  the checkpoint does not name its classes: {how}; '
      '--config.class_order=FILE.json sets them'
    )
  if label_names is not None:
    source = dataclasses.replace(source, label_names=label_names)
  loaded = pretrained.from_weights(
    source, str(path), config, None, say, headless=headless
  )
  if assumed:
    loaded = dataclasses.replace(loaded, class_order=ASSUMED_ORDER)
  return loaded


def _prepared_names(
  source: Weights, config: TrainConfig
) -> orders.Names | None:
  """Returns the class names of the config's prepared dataset, if they fit."""
  folder = pathlib.Path(config.data.data_dir, config.data.dataset)
  known = sorted(folder.glob('*/metadata.json'))  # one, named by its version
  if not known:
    return None
  names = annotations.read_label_names(known[-1])
  sizes = {head: len(classes) for head, classes in names.items()}
  heads = dict(config.model.heads or sizes)
  outputs = classifier.classes_of(source.arrays)
  if not heads.items() <= sizes.items() or sum(heads.values()) != outputs:
    return None
  return {head: names[head] for head in heads}


def _own_config(source: Weights, path: str | os.PathLike) -> TrainConfig:
  """Returns the checkpoint's config."""
  if source.models and not {*source.models} & {*families.every()}:
    raise UserError(
      f'{path} is an {source.title}, which classifies no videos: train from it '
      'with --config.init_from.'
    )
  if source.experiment is None:
    raise UserError(
      source.obstacle
      or f'{path} contains no config: pass the one of its experiment, '
      '--config=FILE.'
    )
  try:
    config = configs.from_mapping(source.experiment)
    configs.check(config)
    models.check(config.model)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  return config


def _with_label_names(
  loaded: LoadedModel, label_names: orders.Names
) -> LoadedModel:
  """Replaces the class names; heads and class counts must be equal."""
  old, new = (
    {head: len(classes) for head, classes in of_heads.items()}
    for of_heads in (loaded.label_names, label_names)
  )
  if old != new:
    raise UserError(f'class_order has {new} classes, but the model has {old}.')
  return dataclasses.replace(loaded, label_names=label_names)

"""The one way from a path to a model with its weights, labels and pixels."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import config as configs
from vivit_jax import config_file, models
from vivit_jax.checkpoints import class_order as orders
from vivit_jax.checkpoints import foreign, merge, names, run, sources
from vivit_jax.checkpoints.damage import Damaged
from vivit_jax.checkpoints.loaded import LoadedModel as LoadedModel
from vivit_jax.checkpoints.on_disk import Description, last_description
from vivit_jax.checkpoints.sources import native
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.data import annotations
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.models.weights import Weights

Override = Callable[[TrainConfig], TrainConfig]


def _same(config: TrainConfig) -> TrainConfig:
  return config


def load(
  path: str | os.PathLike,
  *,
  checkpoint: str | int = 'best',
  config: TrainConfig | str | os.PathLike | None = None,
  class_order: orders.Names | str | os.PathLike | None = None,
  multi_label: Collection[str] | None = None,
  override: Override = _same,
  say: Callable[[str], object] = lambda text: None,
) -> LoadedModel:
  """Reads a model from a checkpoint of any kind.

  A workdir, one of its checkpoints and a Hugging Face folder of a ViViT say by
  themselves what they are; other formats need a config.

  Args:
    path: of a workdir, or of a checkpoint of any format.
    checkpoint: of a workdir: 'best', 'last', or a step.
    config: an experiment (a ConfigDict will do), or the file of one; None for
      the checkpoint's own.
    class_order: names of each head's classes, in the order of the outputs, or
      JSON of them; None for the checkpoint's own, else the config's.
    multi_label: heads of which a video may have any number of labels; None for
      what the checkpoint says.
    override: changes the config.
    say: gets an account of what became of each array, of foreign formats.

  Raises:
    UserError: no such checkpoint, a damaged one, one that needs a config, or
      weights and names that do not fit the config.
  """
  if not isinstance(path, (str, os.PathLike)):
    raise UserError(
      f'the checkpoint is {path!r}: give the path of a workdir or a checkpoint.'
    )
  path = pathlib.Path(path)
  if not os.path.exists(path):
    raise UserError(f'there is no checkpoint at {path}.')
  given = _read_names(class_order)
  if config is None and native.is_native(path):
    with _without_warnings():
      loaded = _from_native(path, str(checkpoint), override)
    loaded = _renamed(loaded, given)
  else:
    loaded = _from_source(path, config, given, override, say)
  return _with_multi_label(loaded, multi_label)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Silences Orbax's warning that it only reads, which is no news."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(max(level, logging.ERROR))
  try:
    yield
  finally:
    logger.setLevel(level)


def _from_native(
  path: pathlib.Path, checkpoint: str, override: Override
) -> LoadedModel:
  """Reads a workdir, its folder of checkpoints, or one of them."""
  workdir, which = native.place(path)
  checkpoint = checkpoint if which == 'best' else which
  try:
    return from_run(workdir, checkpoint, override)
  except Damaged as error:
    raise UserError(
      f'{error.which} is damaged ({error.reason}): name another one by '
      '--checkpoint, a step or a path.'
    ) from None


def from_run(
  workdir: str | os.PathLike, checkpoint: str, override: Override = _same
) -> LoadedModel:
  """Reads a checkpoint of a run.

  The config is the workdir's config.json, else the checkpoint's own. Where
  clips are changed, positions and the like are resized, as for `init_from`.

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
  about = None
  if not pathlib.Path(workdir, 'config.json').exists():
    about = last_description(workdir)
    if about is None and pathlib.Path(workdir, 'checkpoints').is_dir():
      raise UserError(f'{workdir} has no finished checkpoint yet.')
  config = run.read_config(workdir) if about is None else about.config
  with _open_store(workdir, checkpoint) as store:
    step = store.find(checkpoint)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    run.check_same(about.config, config, workdir)
    config = override(config)
    averaged = config.evaluation.ema and store.has_average(step)
    params = store.restore_parameters(step, 'ema' if averaged else 'params')
  known = {head: about.label_names[head] for head in config.model.heads}
  name = f'step {step}' + (', averaged weights' if averaged else '')
  if configs.target(config) != configs.target(about.config):
    params = _resized(params, about, config, f'{name} of {workdir}', name)
  return LoadedModel(
    name,
    config,
    params,
    known,
    about.multi_label,
    step,
    averaged=averaged,
  )


def _resized(
  params: Any, about: Description, config: TrainConfig, what: str, name: str
) -> Any:
  """Returns a run's parameters for clips of another size."""
  source = native.as_weights(params, about, name)
  merged = merge.merge(source, foreign.zeros(config), configs.target(config))
  foreign.check_whole(merged, source, what)
  if any(row.what != 'loaded' for row in merged.rows):
    print(f'{name}, for clips of another size:\n{merged.table()}', flush=True)
  return names.unflatten(merged.arrays)


def _open_store(workdir: str | os.PathLike, checkpoint: str) -> Store:
  """Opens a run's checkpoints; their metrics are read for the best alone."""
  if checkpoint == 'best':
    return Store.of_run(workdir)
  return Store(workdir, read_only=True, best_metric=None)


def initialise(
  params: Any, config: TrainConfig, label_names: orders.Names | None = None
) -> Any:
  """Returns parameters with what `config.init_from` has for them.

  Prints an account of all arrays. Step and optimiser are not taken over.

  Args:
    params: the model's own initial ones, layers stacked or not.
    config: says where from, and how.
    label_names: of the dataset; the source's head is taken for the same ones.

  Raises:
    UserError: a file that cannot be read, or weights that do not fit.
  """
  source = foreign.read(config.init_from, config)
  fresh = jax.tree.map(np.asarray, stacking.unstack(params))
  fresh = dict(names.flatten(fresh))
  merged = foreign.merged_with(source, fresh, config, label_names)
  print(f'starting from {config.init_from} ({source.format}):')
  print(merged.table(), flush=True)
  loaded = names.unflatten(merged.arrays)
  if config.model.scan:
    loaded = stacking.stack(loaded)
  return jax.tree.map(lambda _, x: jnp.asarray(x), params, loaded)


def _from_source(
  path: pathlib.Path,
  config: TrainConfig | str | os.PathLike | None,
  given: orders.Names | None,
  override: Override,
  say: Callable[[str], object],
) -> LoadedModel:
  """Reads a checkpoint of any format, as the config or the file itself says."""
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
  if given is not None:
    config = dataclasses.replace(config, class_order=None)
  source = foreign.read(path, config) if source is None else source
  if given is not None:
    source = dataclasses.replace(source, label_names=given)
  return foreign.from_weights(source, str(path), config, None, say)


def _own_config(source: Weights, path: pathlib.Path) -> TrainConfig:
  """Returns the experiment that a checkpoint describes by itself."""
  if source.experiment is None:
    raise UserError(
      f'{path} is no workdir, and does not say of itself which model and which '
      'clips it is of: give the config of its experiment, --config=FILE.'
    )
  try:
    config = configs.from_mapping(source.experiment)
    configs.check(config)
    models.check(config.model)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  return config


def _read_names(
  class_order: orders.Names | str | os.PathLike | None,
) -> dict[str, list[str]] | None:
  if class_order is None:
    return None
  if isinstance(class_order, (str, os.PathLike)):
    return annotations.read_label_names(class_order)
  return annotations.checked_names(class_order, 'class_order')


def _renamed(loaded: LoadedModel, given: orders.Names | None) -> LoadedModel:
  """Gives the outputs of a run other names, of the same heads."""
  if given is None:
    return loaded
  there = {head: len(known) for head, known in loaded.label_names.items()}
  new = {head: len(known) for head, known in given.items()}
  if there != new:
    raise UserError(
      f'the names are of {_counts(new)}, and the model has {_counts(there)}.'
    )
  return dataclasses.replace(loaded, label_names=given)


def _with_multi_label(
  loaded: LoadedModel, multi_label: Collection[str] | None
) -> LoadedModel:
  if multi_label is None:
    return loaded
  if isinstance(multi_label, str):
    raise UserError(
      f"multi_label is '{multi_label}'; it takes heads: ['{multi_label}']."
    )
  for head in multi_label:
    if head not in loaded.label_names:
      raise UserError(
        f"there is no head '{head}' of many labels; the heads are "
        f'{", ".join(loaded.label_names)}.'
      )
  return dataclasses.replace(loaded, multi_label=tuple(multi_label))


def _counts(heads: Mapping[str, int]) -> str:
  return ', '.join(f'{head} ({n} classes)' for head, n in heads.items())

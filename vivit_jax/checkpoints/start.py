"""Parameters to start training from: `init_from` of a config."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.checkpoints import adapt, fit, formats, heads
from vivit_jax.checkpoints.formats import names
from vivit_jax.config import TrainConfig, token_grid
from vivit_jax.models import stacking


def load(
  params: Any, config: TrainConfig, label_names: heads.Names | None = None
) -> Any:
  """Returns parameters with what `config.init_from` gives them.

  Prints an account of all arrays. Step and optimiser are not taken over.

  Args:
    params: the model's own initial ones, layers stacked or not.
    config: says where from, and how.
    label_names: of the dataset; the source's head is taken for the same ones.

  Raises:
    UserError: a file that cannot be read, or weights that do not fit.
  """
  adapted, source = read_as(config.init_from, params, config, label_names)
  print(f'starting from {config.init_from} ({source.format}):')
  print(adapted.table(), flush=True)
  for note in source.notes:
    print(f'{"note":>10}  {note}', flush=True)
  loaded = names.unflatten(adapted.arrays)
  if config.model.scan:
    loaded = stacking.stack(loaded)
  return jax.tree.map(lambda _, x: jnp.asarray(x), params, loaded)


def read_as(
  path: str | os.PathLike,
  params: Any,
  config: TrainConfig,
  label_names: heads.Names | None,
  grid: fit.Grid | None = None,
) -> tuple[adapt.Adapted, formats.Weights]:
  """Reads a checkpoint of any format as the model of a config.

  Args:
    path: of the checkpoint.
    params, config, label_names: as of `as_model`.
    grid: as of `read`.

  Raises:
    UserError: a file that cannot be read, or weights that do not fit.
  """
  source = read(path, config, grid)
  return as_model(source, params, config, label_names), source


def read(
  path: str | os.PathLike,
  config: TrainConfig,
  grid: fit.Grid | None = None,
) -> formats.Weights:
  """Reads a checkpoint of any format, with what a config says of it.

  Args:
    path: of the checkpoint.
    config: with `init_grid`, `init_order`, and whether weights are averaged.
    grid: t, h and w of the checkpoint's tokens, where neither it nor the config
      tells.

  Raises:
    UserError: a file that cannot be read.
  """
  source = formats.read(path, ema=config.evaluation.ema)
  if config.init_grid is not None:
    source = dataclasses.replace(source, grid=config.init_grid)
  if source.grid is None:
    source = dataclasses.replace(source, grid=grid)
  if config.init_order is not None:
    source = dataclasses.replace(source, order=config.init_order)
  return source


def as_model(
  source: formats.Weights,
  params: Any,
  config: TrainConfig,
  label_names: heads.Names | None,
) -> adapt.Adapted:
  """Returns the model of a config with a checkpoint's weights.

  Args:
    source: the checkpoint.
    params: the model's own initial ones, layers stacked or not.
    config: with the model's heads.
    label_names: of the dataset, where they are known.

  Raises:
    UserError: weights that do not fit.
  """
  fresh = jax.tree.map(np.asarray, stacking.unstack(params))
  return adapt.adapt(
    source,
    dict(names.flatten(fresh)),
    grid=token_grid(config),
    kernel=config.init_kernel,
    family=config.model.family,
    order=config.model.order,
    class_order=heads.order_of(config.class_order, source.label_names),
    label_names=label_names
    and {head: label_names[head] for head in config.model.heads},
  )

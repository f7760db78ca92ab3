"""This package's own checkpoints, as weights to start from."""

import dataclasses
import pathlib
from typing import Any

from vivit_jax import config as configs
from vivit_jax.checkpoints import names
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.models import builder
from vivit_jax.models.weights import Weights


def is_native(path: pathlib.Path) -> bool:
  """Returns whether a folder is a workdir, its checkpoints, or one of them."""
  path = path.absolute()  # of '.' too, the name counts
  one = path.parent.name == 'checkpoints' and (path / 'description').is_dir()
  several = path.name == 'checkpoints' and any(path.glob('*/description'))
  return one or several or (path / 'checkpoints').is_dir()


def place(path: pathlib.Path) -> tuple[pathlib.Path, str]:
  """Returns the workdir of a path for which `is_native`, and which of it."""
  path = path.absolute()
  if (path / 'checkpoints').is_dir():
    return path, 'best'
  if path.name == 'checkpoints':
    return path.parent, 'best'
  return path.parent.parent, path.name


def read(
  path: pathlib.Path, *, ema: bool = True
) -> tuple[Weights, Description]:
  """Reads a workdir's best checkpoint, or `<workdir>/checkpoints/<step>`.

  With `ema`, the moving average of its weights, where the run kept one.
  """
  workdir, which = place(path)
  with Store.of_run(workdir) as store:
    step = store.find(which)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    averaged = ema and store.has_average(step)
    params = store.restore_parameters(step, 'ema' if averaged else 'params')
  name = f'vivit_jax, step {step}' + (', averaged weights' if averaged else '')
  weights = as_weights(params, about, name)
  return dataclasses.replace(weights, step=step, averaged=averaged), about


def as_weights(params: Any, about: Description, name: str) -> Weights:
  """Returns parameters of a run, nested dicts, as weights to start from.

  Args:
    params: layers not stacked.
    about: what their checkpoint says of itself.
    name: of the weights, for people.
  """
  config = about.config
  return Weights(
    name,
    dict(names.flatten(params)),
    (config.model.family,),
    about.label_names,
    configs.target(config).grid,
    options=dataclasses.asdict(config.model.options),
    experiment=dataclasses.asdict(config),
    pool=builder.pool_of(config.model),
  )

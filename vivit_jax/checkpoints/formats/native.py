"""This package's own checkpoints, as weights to start from."""

import pathlib

from vivit_jax import config as configs
from vivit_jax.checkpoints.formats import names
from vivit_jax.checkpoints.formats.weights import Weights
from vivit_jax.checkpoints.store import Description, Store
from vivit_jax.errors import UserError


def is_native(path: pathlib.Path) -> bool:
  """Returns whether a folder is a workdir, or one checkpoint of it."""
  return (path / 'checkpoints').is_dir() or (
    path.parent.name == 'checkpoints' and (path / 'description').is_dir()
  )


def read(path: pathlib.Path) -> tuple[Weights, Description]:
  """Reads a workdir's best checkpoint, or `<workdir>/checkpoints/<step>`."""
  which = 'best'
  workdir = path
  if not (path / 'checkpoints').is_dir():
    workdir, which = path.parent.parent, path.name
  with Store.of_run(workdir) as store:
    step = store.find(which)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    params = store.restore_parameters(step)
  weights = Weights(
    f'vivit_jax, step {step}',
    dict(names.flatten(params)),
    about.label_names,
    configs.token_grid(about.config),
  )
  return weights, about

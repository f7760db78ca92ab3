"""Reads this package's own checkpoints as `Weights`."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from vivit_jax import config as configs
from vivit_jax.checkpoints import names
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.models import builder, classifier
from vivit_jax.models.weights import Weights


def is_native(path: pathlib.Path) -> bool:
  """Returns whether a path is a workdir, its `checkpoints`, or a step in it."""
  path = path.absolute()  # '.' has no name
  one = path.parent.name == 'checkpoints' and (path / 'description').is_dir()
  several = path.name == 'checkpoints' and any(path.glob('*/description'))
  return one or several or (path / 'checkpoints').is_dir()


def locate(path: pathlib.Path) -> tuple[pathlib.Path, str]:
  """Returns workdir and checkpoint ('best' or a step) of a native path."""
  path = path.absolute()
  if (path / 'checkpoints').is_dir():
    return path, 'best'
  if path.name == 'checkpoints':
    return path.parent, 'best'
  return path.parent.parent, path.name


@dataclasses.dataclass(frozen=True)
class Restored:
  """Parameters of a run's checkpoint."""

  params: Any  # nested dicts, blocks unstacked
  about: Description
  step: int
  averaged: bool  # whether they are a moving average (`train.ema`)

  @property
  def name(self) -> str:
    return f'step {self.step}{", averaged weights" if self.averaged else ""}'

  def as_weights(self) -> Weights:
    """Returns the parameters as `Weights`."""
    config = self.about.config
    return Weights(
      f'vivit_jax, {self.name}',
      names.flatten(self.params),
      (config.model.family,),
      self.about.label_names,
      self.about.multi_label,
      configs.target(config).grid,
      options=dataclasses.asdict(config.model.options),
      experiment=dataclasses.asdict(config),
      pool=builder.pool_settings(config.model),
      step=self.step,
      averaged=self.averaged,
    )


def restore(workdir: str | os.PathLike, which: str, ema: bool) -> Restored:
  """Reads a checkpoint of a run.

  Args:
    workdir: of the run.
    which: 'best', 'last', or a step.
    ema: whether to read the averaged weights, if the checkpoint has them.

  Raises:
    UserError: no such checkpoint, or a damaged one.
  """
  with Store(workdir, read_only=True) as store:
    step = store.find(which)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    averaged = ema and store.has_average(step)
    params = store.restore_parameters(step, 'ema' if averaged else 'params')
  if all(map(_is_head, params.values())):
    raise UserError(
      f'{workdir} has the heads of a probe, without their encoder: name the '
      f'workdir of the probe, {pathlib.Path(workdir).absolute().parent}.'
    )
  return Restored(params, about, step, averaged)


def _is_head(of_pool: Any) -> bool:
  """Returns whether parameters are those of pool and head alone."""
  return isinstance(of_pool, Mapping) and all(map(classifier.is_own, of_pool))


def read(path: pathlib.Path, *, ema: bool = True) -> Weights:
  """Reads the best checkpoint of a workdir, or `<workdir>/checkpoints/<step>`.

  Raises:
    UserError: see `restore`.
  """
  return restore(*locate(path), ema).as_weights()

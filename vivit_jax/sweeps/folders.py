"""The folders of a sweep's runs: what is written there, and what it tells.

A run has the folder `<workdir>/<name>`: train.py's workdir, and in it
`experiment.py`, the config that it is trained by, `log.txt`, what it printed,
and, once it has ended well, the empty file `finished`, or `failed`.
"""

import dataclasses
import os
import pathlib
import pprint
from collections.abc import Sequence

from vivit_jax import files, locks
from vivit_jax.checkpoints import run as workdir
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.sweeps.grid import Run

FINISHED = 'finished'
FAILED = 'failed'
LOG = 'log.txt'

_EXPERIMENT = '''"""A run of a sweep: {name}. Written by sweep.py."""

from vivit_jax import config as configs
from vivit_jax import typed

VALUES = {values}


def get_config():
  return typed.to_config_dict(configs.from_mapping(VALUES))
'''


def check(runs: Sequence[Run], folder: pathlib.Path | None = None) -> None:
  """Checks what can be known of each run without its data and devices.

  Raises:
    UserError: what is wrong with which run.
  """
  from vivit_jax.training import checks  # it takes a second

  for run in runs:
    try:
      checks.check_alone(run.config, folder and folder / run.name)
    except UserError as error:
      raise UserError(f'run {run.name}: {error}') from None


def write(runs: Sequence[Run], folder: pathlib.Path) -> None:
  """Writes each run's `experiment.py`, once all are known to fit.

  Raises:
    UserError: folders that cannot be written, or of other configs.
  """
  check(runs, folder)
  for run in runs:
    workdir.check(folder / run.name, run.config)
  for run in runs:
    values = pprint.pformat(
      dataclasses.asdict(_with_whole_paths(run.config)), sort_dicts=False
    )
    path = folder / run.name / 'experiment.py'
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      with files.replacing(path) as unfinished:
        unfinished.write_text(_EXPERIMENT.format(name=run.name, values=values))
    except OSError as error:
      raise UserError(f'cannot write {path}: {error.strerror}.') from None


def _with_whole_paths(config: TrainConfig) -> TrainConfig:
  """Returns the config with paths that hold in any working directory."""

  def whole(path: str | None) -> str | None:
    return path and os.path.abspath(path)

  data = dataclasses.replace(config.data, data_dir=whole(config.data.data_dir))
  return dataclasses.replace(
    config,
    data=data,
    init_from=whole(config.init_from),
    class_order=whole(config.class_order),
  )


def is_finished(folder: pathlib.Path) -> bool:
  """Returns whether a run's folder says that it ended well."""
  return (folder / FINISHED).exists()


def state(folder: pathlib.Path) -> str:
  """Returns in a word or two what has become of a run's folder."""
  if is_finished(folder):
    return 'finished'
  if locks.is_locked(folder):
    return 'running'
  if (folder / FAILED).exists():
    return 'failed'
  return 'stopped' if (folder / 'config.json').exists() else 'not begun'


def arguments(folder: pathlib.Path) -> list[str]:
  """Returns the arguments of train.py for a run's folder."""
  return [f'--config={folder / "experiment.py"}', f'--workdir={folder}']

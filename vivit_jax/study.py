"""Runs a study of configs/study, and writes its table and figure.

  python -m vivit_jax.study models
  python -m vivit_jax.study models --long --out=FOLDER

Trains each run of the study's sweep(), with several seeds, scores it on the
test videos, and replaces the study's section of study.md in --out. Stopped, the
same command goes on; finished runs are kept. configs/study/base.py says what a
study defines, and docs/study.md what its table means.
"""

import importlib
import pathlib
import sys
from types import ModuleType
from typing import Any

from absl import flags

from vivit_jax import commands, sweeps
from vivit_jax import config as configs
from vivit_jax.errors import UserError, nearest

_ROOT = pathlib.Path(__file__).absolute().parents[1]
_FOLDER = _ROOT / 'configs' / 'study'
_SPLITS = {'validation': 800, 'test': 1600}
_VIDEOS = 16000  # of training
_LONGER = 4  # times as many epochs with --long

_WORKDIR = flags.DEFINE_string('workdir', 'runs/study', 'Folder for all runs.')
_OUT = flags.DEFINE_string('out', 'docs', 'Folder of study.md and figures.')
_LONG = flags.DEFINE_bool('long', False, f'Train {_LONGER} times as long.')


def main(arguments: list[str]) -> int:
  (name,) = commands.positional(arguments, 'NAME')
  study = _read(name)
  folder = pathlib.Path(_WORKDIR.value) / (
    f'{name}_long' if _LONG.value else name
  )
  runs = _plan(study, folder)
  code = sweeps.run_all(runs, folder)
  if code:
    return code
  commands.keep_programs()
  from vivit_jax import studies  # late: slow

  command = f'python -m vivit_jax.study {name}' + ' --long' * _LONG.value
  table = studies.Study(study, runs, folder)
  table.score()
  table.write(pathlib.Path(_OUT.value), folder.name, command)
  return 0


def _read(name: str) -> ModuleType:
  """Returns the module of a study."""
  names = [x.stem for x in _FOLDER.glob('*.py')]
  found = [n for n in sorted(names) if n not in ('base', 'image')]
  if name not in found:
    raise UserError(
      f"there is no study '{name}'; there are {', '.join(found)}."
      f'{nearest(name, found)}'
    )
  return importlib.import_module(f'configs.study.{name}')


def _plan(study: ModuleType, folder: pathlib.Path) -> list[sweeps.Run]:
  """Returns the runs of a study, after its videos and image model exist."""
  from vivit_jax.data import datasets, prepare

  videos = getattr(study, 'VIDEOS', _VIDEOS)
  data = folder.parent / 'data' / str(videos)
  if datasets.find('moving_shapes', data) is None:
    prepare.prepare_embedded(data, counts={'train': videos, **_SPLITS})

  def prepared(config: Any) -> configs.TrainConfig:
    config.data.data_dir = str(data)
    config.train.epochs *= _LONGER if _LONG.value else 1
    return configs.resolve(config)

  base = study.get_config()
  if start := getattr(study, 'START', None):
    config = importlib.import_module(f'configs.study.{start}').get_config()
    name = f'{start}_long' if _LONG.value else start
    run = sweeps.Run(name, {}, prepared(config))
    if code := sweeps.run_all([run], folder.parent):
      sys.exit(code)
    base.init_from = str(folder.parent / name)
  path = f'{_FOLDER / study.__name__.rpartition(".")[2]}.py'
  return sweeps.plan(prepared(base), path)


if __name__ == '__main__':
  commands.define_compilation_cache()
  sys.exit(commands.run(main, __doc__))

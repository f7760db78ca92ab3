"""Runs the sweep of a config file, or goes on with it.

  python sweep.py --config=configs/x.py --workdir=runs/sweep --show
  python sweep.py --config=configs/x.py --workdir=runs/sweep --parallel=2
  python sweep.py --config=configs/x.py --workdir=runs/sweep --table
  python sweep.py --config=configs/x.py --workdir=runs/sweep --slurm=sweep.sh

The file defines sweep(), a list of overrides: vivit_jax/sweeps/__init__.py
says how. Each run is trained by train.py into <workdir>/<name>, with its log in
log.txt there; a run that is finished is not trained again. Any key of the
config that sweep() leaves alone can be overridden for all runs:
--config.train.epochs=2. With --parallel, runs share the devices of
CUDA_VISIBLE_DEVICES out: one each, if there are as many. Ctrl-C stops the runs,
which write checkpoints; the same command goes on.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from vivit_jax import commands, sweeps
from vivit_jax.errors import UserError
from vivit_jax.sweeps import folders, processes, reports

_CONFIG = commands.define_config('File of the experiment, with sweep().')
_WORKDIR = flags.DEFINE_string('workdir', None, "Folder of the runs' folders.")
_SHOW = flags.DEFINE_bool('show', False, 'Print the runs, and do nothing.')
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time.')
_TABLE = flags.DEFINE_bool('table', False, 'Print the runs, the best first.')
_METRIC = flags.DEFINE_string('metric', 'validation/top1', 'Of the table.')
_VALUE = flags.DEFINE_enum(
  'value', 'best', reports.WHICH, 'Of the metric, in each run.'
)
_SLURM = flags.DEFINE_string(
  'slurm', None, 'Write a Slurm array to this file, and run nothing.'
)


def main(arguments: list[str]) -> int:
  commands.no_positional(arguments)
  if (_SHOW.value, _TABLE.value, _SLURM.value is not None).count(True) > 1:
    raise UserError('--show, --table and --slurm exclude each other.')
  if _PARALLEL.value < 1:
    raise UserError(f'--parallel is {_PARALLEL.value}; at least 1.')
  config = commands.read_config(_CONFIG)
  flag = flags.FLAGS['config']
  given = config_flags.get_override_values(flag)
  runs = sweeps.plan(config, flag.config_filename, given)
  if _SHOW.value:
    folder = _WORKDIR.value
    folders.check(runs, None if folder is None else pathlib.Path(folder))
    print(reports.show(runs))
    return 0
  folder = _WORKDIR.value
  if folder is None:
    raise UserError('--workdir is missing; --help shows the usage.')
  if _TABLE.value:
    print(reports.table(runs, folder, _METRIC.value, _VALUE.value))
    return 0
  if _SLURM.value is not None:
    reports.write_slurm(runs, folder, _SLURM.value)
    print(f'{len(runs)} runs; start them by: sbatch {_SLURM.value}')
    return 0
  return processes.run_all(runs, folder, parallel=_PARALLEL.value)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config',)))

"""Runs the sweep of a config file, or goes on with it.

  python sweep.py --config=configs/x.py --workdir=runs/sweep --show
  python sweep.py --config=configs/x.py --workdir=runs/sweep --parallel=2
  python sweep.py --config=configs/x.py --workdir=runs/sweep --table
  python sweep.py --config=configs/x.py --workdir=runs/sweep --slurm=sweep.sh

The file defines sweep(), which returns a list of dicts of overrides, such as
[{'optim.learning_rate': 0.1}], one for each run. train.py trains each run in
<workdir>/<name>, with its output in log.txt. Keys that sweep() leaves alone can
be overridden for all runs: --config.train.epochs=2. With --parallel, runs share
out the devices of CUDA_VISIBLE_DEVICES, if it is set. A run that fails does not
stop the others; the exit code is 1 then. Ctrl-C stops the runs, which write
checkpoints. The same command goes on with the runs that are not finished.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from vivit_jax import commands, sweeps
from vivit_jax.errors import UserError

_CONFIG = commands.define_config('File of the experiment, with sweep().')
_WORKDIR = flags.DEFINE_string('workdir', None, "Folder of the runs' folders.")
_SHOW = flags.DEFINE_bool('show', False, 'Print the runs, and do nothing.')
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time.')
_TABLE = flags.DEFINE_bool('table', False, 'Print the runs, the best first.')
_METRIC = flags.DEFINE_string('metric', 'validation/top1', 'Of the table.')
_VALUE = flags.DEFINE_enum(
  'value', 'best', ('best', 'last'), 'Of the metric, in each run.'
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
  folder = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
  if _SHOW.value:
    print(f'{len(runs)} runs')
    for run in runs:
      values = [f'  {key} = {value!r}' for key, value in run.overrides.items()]
      print('\n'.join([run.name, *values]))
    return 0
  if folder is None:
    raise UserError('--workdir is missing; --help shows the usage.')
  if _TABLE.value:
    print(sweeps.table(runs, folder, _METRIC.value, _VALUE.value))
    return 0
  if _SLURM.value is not None:
    sweeps.write_slurm(runs, folder, _SLURM.value)
    print(f'{len(runs)} runs; start them by: sbatch {_SLURM.value}')
    return 0
  return sweeps.run_all(runs, folder, _PARALLEL.value)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config',)))

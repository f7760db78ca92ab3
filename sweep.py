"""Runs the sweep of a config file, or resumes it.

  python sweep.py --config=configs/x.py --workdir=runs/sweep --show
  python sweep.py --config=configs/x.py --workdir=runs/sweep --parallel=2
  python sweep.py --config=configs/x.py --workdir=runs/sweep --table
  python sweep.py --config=configs/x.py --workdir=runs/sweep --slurm=sweep.sh

The config file defines sweep(), which returns a dict of overrides for each run,
such as [{'optim.learning_rate': 0.1}]. train.py trains each run in
<workdir>/<name>; log.txt has its output. Flags override keys in all runs:
--config.train.epochs=2; a key that sweep() sets cannot be a flag. With
--parallel, the runs share the devices of CUDA_VISIBLE_DEVICES, if it is set. A
failed run does not stop the others; the exit code is then 1. On Ctrl-C the runs
write checkpoints and stop; the same command resumes them.
"""

import pathlib
import sys

from absl import flags
from ml_collections.config_flags import get_override_values

from vivit_jax import commands, config_flags, sweeps
from vivit_jax.errors import UserError

_CONFIG = config_flags.define_config('Config file, with sweep().')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the sweep.')
_SHOW = flags.DEFINE_bool('show', False, 'Print the runs, and train nothing.')
_PARALLEL = flags.DEFINE_integer(
  'parallel', 1, 'Runs at a time.', lower_bound=1
)
_TABLE = flags.DEFINE_bool(
  'table', False, 'Print the best value of --metric in each run.'
)
_METRIC = flags.DEFINE_string('metric', 'validation/top1', 'Metric of --table.')
_SLURM = flags.DEFINE_string(
  'slurm', None, 'File for a Slurm array script; trains nothing.'
)


def main(arguments: list[str]) -> int:
  commands.no_positional(arguments)
  if (_SHOW.value, _TABLE.value, _SLURM.value is not None).count(True) > 1:
    raise UserError('set only one of --show, --table and --slurm.')
  config = config_flags.read_config(_CONFIG)
  flag = flags.FLAGS['config']
  given = get_override_values(flag)
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
    print(sweeps.table(runs, folder, _METRIC.value))
    return 0
  if _SLURM.value is not None:
    sweeps.write_slurm(runs, folder, _SLURM.value)
    print(f'{len(runs)} runs; start them with: sbatch {_SLURM.value}')
    return 0
  return sweeps.run_all(runs, folder, _PARALLEL.value)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config',)))

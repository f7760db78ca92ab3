"""Trains a video transformer, or goes on where training stopped.

  python train.py --config=configs/moving_shapes_ti8x2_fe.py --workdir=runs/demo

In several processes, each with its number, on one machine or many (under Slurm,
Open MPI and on TPU pods without these flags):

  python train.py --config=... --workdir=... --coordinator=HOST:PORT
    --processes=2 --process=0

Any key of the config can be overridden: --config.train.batch_size=16. The keys'
meanings are in vivit_jax/config.py, those of model.options in its family's file
in vivit_jax/models/.
"""

import sys

from absl import flags

from vivit_jax import commands
from vivit_jax import config as configs

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for checkpoints and logs; an old run goes on.'
)
_CONFIG = commands.define_config(
  'File of the experiment, e.g. configs/k400_b16x2_fe.py.'
)


commands.define_processes()
commands.define_compilation_cache()


def main(arguments: list[str]) -> int:
  commands.obey_sweep()
  commands.no_positional(arguments)
  config = commands.read_config(_CONFIG)
  commands.connect()
  commands.keep_programs()
  from vivit_jax.training import loop  # after the checks: it takes seconds

  return loop.train(config, _WORKDIR.value)


if __name__ == '__main__':
  usage = f'{__doc__}\nKeys and their defaults:\n\n{configs.help_text()}'
  sys.exit(commands.run(main, usage, required=('config', 'workdir')))

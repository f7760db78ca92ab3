"""Trains a video transformer, or resumes training.

  python train.py --config=configs/moving_shapes_ti8x2_fe.py --workdir=runs/demo

For several processes, on one machine or many, start each with its own --process
(Slurm, Open MPI 4 and TPU pods need no such flags):

  python train.py --config=... --workdir=... --coordinator=HOST:PORT
    --processes=2 --process=0

Flags override keys of the config: --config.train.batch_size=16.
vivit_jax/config.py explains the keys; those of model.options are in the
family's file in vivit_jax/models/.
"""

import sys

from absl import flags

from vivit_jax import commands, config_flags
from vivit_jax import config as configs

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for checkpoints and logs; a run in it is resumed.'
)
_CONFIG = config_flags.define_config(
  'Config file, such as configs/k400_b16x2_fe.py.'
)
commands.define_processes()
commands.define_compilation_cache()


def main(arguments: list[str]) -> int:
  commands.obey_sweep()
  commands.no_positional(arguments)
  config = config_flags.read_config(_CONFIG)
  commands.connect()
  commands.keep_programs()
  from vivit_jax.training import loop  # after the checks: it takes seconds

  return loop.train(config, _WORKDIR.value)


if __name__ == '__main__':
  usage = f'{__doc__}\nKeys and their defaults:\n\n{configs.help_text()}'
  sys.exit(commands.run(main, usage, required=('config', 'workdir')))

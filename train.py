"""Trains a video transformer, or goes on where training stopped.

  python train.py --config=configs/moving_shapes_ti8x2_fe.py --workdir=runs/demo

Any key of the config can be overridden: --config.train.batch_size=16. All keys,
with their meanings, are in vivit_jax/config.py.
"""

import sys

from absl import flags

from vivit_jax import commands

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for checkpoints and logs; an old run goes on.'
)
_CONFIG = commands.define_config()


def main(arguments: list[str]) -> int:
  commands.no_positional(arguments)
  from vivit_jax import config as configs
  from vivit_jax.training import loop

  config = configs.resolve(_CONFIG.value)
  return loop.train(config, _WORKDIR.value)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config', 'workdir')))

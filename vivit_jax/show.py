"""Shows clips of a training batch as the model sees them, with their labels.

  python -m vivit_jax.show --config=configs/k400_b16x2.py --out=page.html

The train step's own functions augment the clips of batch --step. The page is
one file, .html or .png. Flags override keys of the config, as in train.py:
--config.augment.cutmix=1.0.
"""

import sys

from absl import flags

from vivit_jax import commands, config_flags

_CONFIG = config_flags.define_config(
  'Config file, such as configs/k400_b16x2.py.'
)
_OUT = flags.DEFINE_string('out', None, 'File to write, .html or .png.')
_STEP = flags.DEFINE_integer(
  'step', 0, 'Number of the batch, from 0.', lower_bound=0
)
_CLIPS = flags.DEFINE_integer('clips', 8, 'Number of clips to show.')
commands.define_compilation_cache()


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  config = config_flags.read_config(_CONFIG)
  commands.keep_programs()
  from vivit_jax.training import show  # slow: only after the checks

  show.write_page(
    config,
    _OUT.value,
    step=_STEP.value,
    clips=_CLIPS.value,
    name=flags.FLAGS['config'].config_filename,
  )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config', 'out')))

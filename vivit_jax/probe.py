"""Probes a frozen encoder by many heads, trained side by side, or resumes.

  python -m vivit_jax.probe --config=FILE --workdir=DIR
    --config.init_from=PATH --config.probe.pools="('mean', 'attention')"
    --config.probe.learning_rates="(1e-3, 3e-4)"

The heads are all combinations of the config's probe.pools, probe.learning_rates
and probe.weight_decays. The best by validation is written to DIR as an ordinary
checkpoint; probe.csv has the scores of all. docs/probing.md explains the keys.
"""

import sys

from absl import flags

from vivit_jax import commands, config_flags

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for checkpoints and logs; a probe in it is resumed.'
)
_CONFIG = config_flags.define_config('Config file, as of train.py.')
commands.define_processes()
commands.define_compilation_cache()


def main(arguments: list[str]) -> int:
  commands.no_positional(arguments)
  config = config_flags.read_config(_CONFIG)
  commands.connect()
  commands.keep_programs()
  from vivit_jax.probing import experiment  # after the checks: slow

  return experiment.probe(config, _WORKDIR.value)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('config', 'workdir')))

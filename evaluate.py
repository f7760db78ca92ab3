"""Scores a trained model on every example of a split, once.

  python evaluate.py --workdir=runs/demo
  python evaluate.py --config=configs/k400_b16x2.py --checkpoint=PATH --out=DIR

Of a workdir, the config is the run's own; keys of its section `evaluation` have
flags here. A checkpoint of any other format (`python -m vivit_jax.checkpoints
inspect PATH`) needs a config, and a folder for the report. The report goes to
<workdir>/evaluation/<split>, or --out: metrics.json, predictions.csv and a
confusion matrix for each head.
"""

import sys

from absl import flags
from ml_collections import config_flags

from vivit_jax import commands
from vivit_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that train.py wrote.')
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', "'best', 'last', a step, or a path with --config."
)
_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'File of the experiment, for a checkpoint without a workdir.'
)
_SPLIT = flags.DEFINE_string('split', None, 'Split to score.')
_VIEWS = flags.DEFINE_string(
  'views', None, 'Temporal x spatial views of a video, e.g. 4x3.'
)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', None, 'Videos at a time.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder of the records.')
_SHORT_VIDEOS = flags.DEFINE_string(
  'short_videos',
  None,
  "Videos shorter than a clip: 'refuse', 'loop' or 'hold'.",
)
_EMA = flags.DEFINE_boolean(
  'ema', None, 'Score the averaged weights, if the run kept them.'
)
_OUT = flags.DEFINE_string('out', None, 'Folder of the report.')
commands.define_processes()


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  if (_WORKDIR.value is None) == (_CONFIG.value is None):
    raise UserError(
      'give --workdir of a run, or --config with --checkpoint=PATH and --out; '
      '--help shows the usage.'
    )
  config = None if _CONFIG.value is None else commands.read_config(_CONFIG)
  commands.connect()
  from vivit_jax.evaluation import offline

  offline.evaluate(
    _WORKDIR.value,
    config=config,
    checkpoint=_CHECKPOINT.value,
    split=_SPLIT.value,
    views=_VIEWS.value,
    batch_size=_BATCH_SIZE.value,
    data_dir=_DATA_DIR.value,
    short_videos=_SHORT_VIDEOS.value,
    ema=_EMA.value,
    out=_OUT.value,
  )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__))

"""Scores a trained model on every example of a split, once.

  python evaluate.py --workdir=runs/demo

The config is the run's own; keys of its section `evaluation` have flags here.
The report goes to <workdir>/evaluation/<split>: metrics.json, predictions.csv
and a confusion matrix for each head.
"""

import sys

from absl import flags

from vivit_jax import commands

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that train.py wrote.')
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', "'best', 'last', or a step."
)
_SPLIT = flags.DEFINE_string('split', None, 'Split to score.')
_VIEWS = flags.DEFINE_string(
  'views', None, 'Temporal x spatial views of a video, e.g. 4x3.'
)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', None, 'Videos at a time.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder of the records.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the report.')


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  from vivit_jax.evaluation import offline

  offline.evaluate(
    _WORKDIR.value,
    checkpoint=_CHECKPOINT.value,
    split=_SPLIT.value,
    views=_VIEWS.value,
    batch_size=_BATCH_SIZE.value,
    data_dir=_DATA_DIR.value,
    out=_OUT.value,
  )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('workdir',)))

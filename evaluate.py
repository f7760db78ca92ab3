"""Scores trained models on every example of a split, once.

  python evaluate.py --workdir=runs/demo
  python evaluate.py --workdir=runs/demo --checkpoint=1000,2000
  python evaluate.py --workdir=runs/demo --watch
  python evaluate.py --config=configs/k400_b16x2.py --checkpoint=PATH --out=DIR

Of a workdir, the config is the run's own; flags here change what of it is
evaluated. A checkpoint of any other format (`python -m vivit_jax.checkpoints
inspect PATH`) needs a config, and a folder for the results. They go to
<workdir>/evaluation/<split>, or --out: a page, report.html, metrics.json,
predictions.npz, predictions.csv and confusion matrices; of several checkpoints,
each into a folder of its own there, and scores.csv. An interrupted evaluation
goes on by the same command. docs/evaluation.md has the protocol.
"""

import sys

from absl import flags

from vivit_jax import commands
from vivit_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that train.py wrote.')
_CHECKPOINT = flags.DEFINE_multi_string(
  'checkpoint',
  None,
  "'best' (the default), 'last', 'all', or steps; or, with --config, paths, "
  'also of folders of several. Several by commas, or by the flag again.',
)
_WATCH = flags.DEFINE_boolean(
  'watch', False, 'Score the checkpoints of a workdir as they come.'
)
_POLL = flags.DEFINE_float(
  'poll', 30.0, 'Seconds between two looks of --watch.', lower_bound=0.1
)
_CONFIG = commands.define_config(
  'File of the experiment, for a checkpoint without a workdir.'
)
_SPLIT = flags.DEFINE_string('split', None, 'Split to score.')
_VIEWS = flags.DEFINE_string(
  'views', None, 'Temporal x spatial views of a video, e.g. 4x3.'
)
_CROP = flags.DEFINE_string(
  'crop', None, 'Pixels that the model sees: 256, or height x width, 256x320.'
)
_SHORT_SIDE = flags.DEFINE_integer(
  'short_side', None, 'Pixels that videos are resized to before the crop.'
)
_FRAMES = flags.DEFINE_integer('frames', None, 'Frames of a clip.')
_STRIDE = flags.DEFINE_integer(
  'stride', None, 'Frames of a video from one of a clip to the next.'
)
_AVERAGE = flags.DEFINE_string(
  'average', None, "What is averaged over views: 'logits' or 'probabilities'."
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
_OUT = flags.DEFINE_string('out', None, 'Folder of the results.')
commands.define_processes()
commands.define_compilation_cache()


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  if (_WORKDIR.value is None) == (_CONFIG.value is None):
    raise UserError(
      'give --workdir of a run, or --config with --checkpoint=PATH and --out; '
      '--help shows the usage.'
    )
  if _CONFIG.value is not None and not _CHECKPOINT.value:
    raise UserError('--checkpoint is missing: the path of the weights.')
  if _WATCH.value and (_WORKDIR.value is None or _CHECKPOINT.value):
    raise UserError(
      '--watch scores all checkpoints of a run: give it --workdir, and no '
      '--checkpoint.'
    )
  commands.end_on_sigterm()
  config = None if _CONFIG.value is None else commands.read_config(_CONFIG)
  commands.connect()
  commands.keep_programs()
  from vivit_jax.evaluation import candidates, offline, watch

  changes = {
    'split': _SPLIT.value,
    'views': _VIEWS.value,
    'crop': _CROP.value,
    'short_side': _SHORT_SIDE.value,
    'frames': _FRAMES.value,
    'stride': _STRIDE.value,
    'average': _AVERAGE.value,
    'batch_size': _BATCH_SIZE.value,
    'data_dir': _DATA_DIR.value,
    'short_videos': _SHORT_VIDEOS.value,
    'ema': _EMA.value,
  }
  if _WATCH.value:
    watch.watch(_WORKDIR.value, out=_OUT.value, poll=_POLL.value, **changes)
    return
  offline.evaluate(
    _WORKDIR.value,
    config=config,
    checkpoints=candidates.split(_CHECKPOINT.value or ['best']),
    out=_OUT.value,
    **changes,
  )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__))

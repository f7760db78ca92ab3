"""Scores trained models on a split, every example once.

  python evaluate.py --workdir=runs/demo
  python evaluate.py --workdir=runs/demo --checkpoint=1000,2000
  python evaluate.py --workdir=runs/demo --watch
  python evaluate.py --config=configs/k400_b16x2.py --checkpoint=PATH --out=DIR

A workdir has its own config, and flags override its evaluation protocol. Any
other checkpoint (`python -m vivit_jax.checkpoints inspect PATH`) needs --config
and --out. report.html, metrics.json, predictions.npz and predictions.csv are
written to --out, by default <workdir>/evaluation/<split>. Several checkpoints
have a subfolder each, and scores.csv compares them. The same command resumes an
interrupted evaluation. docs/evaluation.md describes the protocol.
"""

import sys

from absl import flags

from vivit_jax import commands, config_flags
from vivit_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a trained run.')
_CHECKPOINT = flags.DEFINE_multi_string(
  'checkpoint',
  None,
  "'best' (default), 'last', 'all', or steps; with --config, paths of "
  'checkpoints, or of folders of them, or hf://OWNER/NAME. Separate several by '
  'commas.',
)
_WATCH = flags.DEFINE_boolean(
  'watch', False, 'Score new checkpoints while the run is training.'
)
_POLL = flags.DEFINE_float(
  'poll', 30.0, 'Seconds between checks for new checkpoints.', lower_bound=0.1
)
_CONFIG = config_flags.define_config(
  'Config file, for a checkpoint outside a workdir.'
)
flags.DEFINE_string('split', None, 'Split to score.')
flags.DEFINE_string(
  'views', None, 'Temporal x spatial views of a video, such as 4x3.'
)
flags.DEFINE_string(
  'crop', None, "Pixels of the model's input: 256, or height x width, 256x320."
)
flags.DEFINE_integer(
  'short_side', None, "Pixels of a video's shorter side before the crop."
)
flags.DEFINE_integer('frames', None, 'Frames of a clip.')
flags.DEFINE_integer('stride', None, 'A clip takes every stride-th frame.')
commands.define_sampling()
flags.DEFINE_enum(
  'views_from',
  None,
  ('middle', 'start'),
  'Clips from start to end and a single one in the middle; or the first at the '
  'start.',
)
flags.DEFINE_enum(
  'average', None, ('logits', 'probabilities'), 'What to average over views.'
)
flags.DEFINE_integer('batch_size', None, 'Videos in a batch.')
flags.DEFINE_string('data_dir', None, 'Folder of the records.')
flags.DEFINE_enum(
  'short_videos',
  None,
  ('refuse', 'loop', 'hold'),
  'Videos shorter than a clip: an error, looped, or their last frame repeated.',
)
flags.DEFINE_boolean(
  'ema', None, 'Score the averaged weights, if there are any.'
)
_CHANGES = (
  'split', 'views', 'crop', 'short_side', 'frames', 'stride', 'sampling',
  'views_from', 'average', 'batch_size', 'data_dir', 'short_videos', 'ema',
)  # fmt: skip
_OUT = flags.DEFINE_string('out', None, 'Folder for the results.')
commands.define_processes()
commands.define_compilation_cache()


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  if (_WORKDIR.value is None) == (_CONFIG.value is None):
    raise UserError(
      'set either --workdir, or --config with --checkpoint=PATH and --out; '
      '--help shows the usage.'
    )
  if _CONFIG.value is not None and not _CHECKPOINT.value:
    raise UserError('--checkpoint is missing: the path of a checkpoint.')
  if _WATCH.value and (_WORKDIR.value is None or _CHECKPOINT.value):
    raise UserError(
      '--watch scores all checkpoints of a run: set --workdir and no '
      '--checkpoint.'
    )
  commands.end_on_sigterm()
  config = None if _CONFIG.value is None else config_flags.read_config(_CONFIG)
  commands.connect()
  commands.keep_programs()
  from vivit_jax.evaluation import checkpoint_selection, evaluate, watch

  changes = {name: flags.FLAGS[name].value for name in _CHANGES}
  if _WATCH.value:
    watch.watch(_WORKDIR.value, out=_OUT.value, poll=_POLL.value, **changes)
    return
  evaluate.evaluate(
    _WORKDIR.value,
    config=config,
    checkpoints=checkpoint_selection.split(_CHECKPOINT.value or ['best']),
    out=_OUT.value,
    **changes,
  )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__))

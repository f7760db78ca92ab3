"""Flags that select a trained model, shared by all commands that load one."""

import os
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from vivit_jax import commands, files
from vivit_jax.errors import UserError

if TYPE_CHECKING:
  from vivit_jax.inference.predictor import Predictor

# So that --help of the calling command lists the flags defined here.
flags.disclaim_key_flags()

_OF_RUNS = ('best', 'last')  # like steps, these need --workdir


def define() -> None:
  """Defines the flags."""
  for name, text in {
    'workdir': 'Folder of a training run.',
    'checkpoint': "'best' (default), 'last' or a step of --workdir; or a path "
    'or hf://OWNER/NAME.',
    'config': 'Config file, for a checkpoint that does not contain one.',
    'class_order': 'JSON file {head: [class names in output order]}.',
  }.items():
    flags.DEFINE_string(name, None, text)
  flags.DEFINE_multi_string(
    'multi_label', None, 'Head with any number of labels per video.'
  )
  flags.DEFINE_boolean(
    'ema', None, 'Use the averaged weights, if there are any.'
  )
  commands.define_compilation_cache()


def check(values: Any = flags.FLAGS) -> None:
  """Raises a UserError if the flags do not select exactly one model."""
  workdir, checkpoint = values.workdir, values.checkpoint
  if workdir is None and checkpoint is None:
    raise UserError(
      'set --workdir to a training run, or --checkpoint to a path; see --help.'
    )
  of_run = checkpoint in _OF_RUNS or (checkpoint or '').isdecimal()
  if workdir is None and of_run and not os.path.exists(checkpoint):
    raise UserError(f'--checkpoint={checkpoint} needs --workdir: set it too.')
  if files.on_hub(workdir or ''):
    raise UserError(
      f'--workdir={workdir} is a name on the Hub: set --checkpoint to it.'
    )
  if workdir is not None and not os.path.isdir(workdir):
    raise UserError(
      f'--workdir={workdir} does not exist: train first, with this --workdir.'
    )
  if workdir is not None and values.config is not None:
    raise UserError(
      f'--workdir={workdir} has its own config: leave out --config, or set '
      f'--checkpoint={workdir}/checkpoints/STEP instead of --workdir.'
    )


def load(**options: Any) -> 'Predictor':
  """Returns the selected model; `options` are those of `predictor.load`."""
  from vivit_jax.inference import predictor  # importing jax takes a second

  commands.keep_programs()
  values = flags.FLAGS
  options |= {
    'config': values.config,
    'class_order': values.class_order,
    'multi_label': values.multi_label,
    'ema': values.ema,
    'say': lambda text: print(text, file=sys.stderr, flush=True),
  }
  if values.workdir is None:
    return predictor.load(values.checkpoint, **options)
  return predictor.load(
    values.workdir, checkpoint=values.checkpoint or 'best', **options
  )

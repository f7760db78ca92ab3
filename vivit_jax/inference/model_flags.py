"""The flags that name a trained model, for every command that takes one."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from vivit_jax.errors import UserError

if TYPE_CHECKING:
  from vivit_jax.inference.predictor import Predictor

_RUNS = ('best', 'last')  # what --checkpoint takes beside a step's number


def define(parser: argparse.ArgumentParser) -> None:
  """Adds the flags to a parser, as a group."""
  add = parser.add_argument_group('the model').add_argument
  add('--workdir', help='folder that train.py wrote')
  add('--checkpoint', help="of --workdir: 'best', 'last', a step; or a path")
  add('--config', help='file of the experiment, for formats that need one')
  add('--class_order', metavar='JSON', help='{head: [names of the outputs]}')
  add('--multi_label', action='append', metavar='HEAD', help='of many labels')
  add(
    '--ema',
    action=argparse.BooleanOptionalAction,
    help='the averaged weights, if the run kept them',
  )
  add(
    '--compilation_cache',
    metavar='DIR',
    help="of compiled programs, or 'off' (in the user's cache)",
  )


def check(flags: argparse.Namespace) -> None:
  """Raises a UserError where the flags do not fit each other."""
  if flags.workdir is None and flags.checkpoint is None:
    raise UserError(
      'give --workdir of a run, or --checkpoint=PATH of any format; --help '
      'shows the usage.'
    )
  run = flags.checkpoint in _RUNS or (flags.checkpoint or '').isdecimal()
  if flags.workdir is None and run and not os.path.exists(flags.checkpoint):
    raise UserError(
      f'--checkpoint={flags.checkpoint} is of a run: give its --workdir too.'
    )
  if flags.workdir is not None and flags.config is not None:
    raise UserError(
      'a workdir has its own config: leave --config out, or name one of its '
      f'checkpoints, --checkpoint={flags.workdir}/checkpoints/STEP.'
    )


def load(flags: argparse.Namespace, **options: Any) -> 'Predictor':
  """Returns the model that the flags name; options are of `predictor.load`."""
  from vivit_jax import compilation_cache  # jax takes a second
  from vivit_jax.inference import predictor

  compilation_cache.set_up(flags.compilation_cache)
  options |= {
    'config': flags.config,
    'class_order': flags.class_order,
    'multi_label': flags.multi_label,
    'ema': flags.ema,
    'say': lambda text: print(text, file=sys.stderr, flush=True),
  }
  if flags.workdir is None:
    return predictor.load(flags.checkpoint, **options)
  if not os.path.isdir(flags.workdir):
    raise UserError(
      f'there is no workdir {flags.workdir}: train into it first.'
    )
  return predictor.load(
    flags.workdir, checkpoint=flags.checkpoint or 'best', **options
  )

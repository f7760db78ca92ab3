"""python -m vivit_jax.export: its flags, and what they lead to."""

import argparse
import functools
import pathlib
import re
import shutil
import signal
from collections.abc import Sequence

from vivit_jax import commands
from vivit_jax.errors import UserError, exit_on_user_error
from vivit_jax.inference import model_flags


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  found = argparse.ArgumentParser(
    prog='python -m vivit_jax.export',
    description='Writes a model as one function: uint8 frames in, '
    'probabilities out. jax alone runs it.',
    allow_abbrev=False,
  )
  found.add_argument('--out', required=True, metavar='DIR', help='to be made')
  model_flags.define(found)
  add = found.add_argument_group('the artefact').add_argument
  add('--platforms', default='cpu,cuda,tpu', help='of cpu, cuda, rocm, tpu')
  add('--resize', metavar='HxW', help="of the frames given (the model's crop)")
  add('--parameters', choices=('inside', 'beside'), default='inside')
  add('--savedmodel', action='store_true', help='one for TensorFlow too')
  return found


def main(arguments: Sequence[str] | None = None) -> int:
  """Parses a command line, does what it asks for, returns the exit code."""
  commands.quieten_libraries()
  signal.signal(signal.SIGINT, commands.end_at_once)
  flags = parser().parse_args(arguments)
  with exit_on_user_error(at_once=True):
    size = None if flags.resize is None else _size(flags.resize)
    model_flags.check(flags)
    from vivit_jax.inference import exported  # jax takes a second

    predictor = model_flags.load(flags)
    options = exported.Options(
      platforms=[name for name in flags.platforms.split(',') if name],
      size=size,
      beside=flags.parameters == 'beside',
      savedmodel=flags.savedmodel,
    )
    # From here on, an interrupt must still remove what is half-written.
    unfinished = exported.unfinished(flags.out)
    signal.signal(signal.SIGINT, functools.partial(_end, unfinished))
    folder = exported.export(predictor, flags.out, options)
    try:
      _tell(folder)
    except BrokenPipeError:  # of `| head`
      return 1
  return 0


def _end(unfinished: pathlib.Path, *_) -> None:
  """Ends the process on Ctrl-C, and leaves nothing half-written.

  A KeyboardInterrupt gets lost where jax calls Python back, in a collection of
  garbage for one.
  """
  shutil.rmtree(unfinished, ignore_errors=True)
  commands.end_at_once()


def _tell(folder: pathlib.Path) -> None:
  """Prints what was written, and how large it is."""
  for path in sorted(folder.iterdir()):
    inside = [p for p in (path, *path.rglob('*')) if p.is_file()]
    size = sum(p.stat().st_size for p in inside)
    commands.say(f'{size / 1e6:10.3f} MB  {path}')


def _size(text: str) -> tuple[int, int]:
  match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
  if not match:
    raise UserError(
      f"--resize is '{text}'; it takes height x width in pixels, e.g. 256x340."
    )
  return int(match[1]), int(match[2])

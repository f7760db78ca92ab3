"""python -m vivit_jax.export: its flags, and what they lead to."""

import argparse
import re
from collections.abc import Sequence

from vivit_jax.errors import UserError, exit_on_user_error


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  found = argparse.ArgumentParser(
    prog='python -m vivit_jax.export',
    description='Writes a model as one function: uint8 frames in, '
    'probabilities out. jax alone runs it.',
    allow_abbrev=False,
  )
  found.add_argument('--out', required=True, metavar='DIR', help='to be made')
  group = found.add_argument_group('the model')
  add = group.add_argument
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
  group = found.add_argument_group('the artefact')
  add = group.add_argument
  add('--platforms', default='cpu,cuda,tpu', help='of cpu, cuda, rocm, tpu')
  add('--resize', metavar='HxW', help="of the frames given (the model's crop)")
  add('--parameters', choices=('inside', 'beside'), default='inside')
  add('--savedmodel', action='store_true', help='one for TensorFlow too')
  return found


def main(arguments: Sequence[str] | None = None) -> int:
  """Parses a command line, does what it asks for, returns the exit code."""
  flags = parser().parse_args(arguments)
  with exit_on_user_error(at_once=True):
    size = None if flags.resize is None else _size(flags.resize)
    from vivit_jax.inference import exported, loading  # jax takes a second

    predictor = loading.load(
      flags.workdir or flags.checkpoint,
      checkpoint=flags.checkpoint or 'best',
      config=flags.config,
      class_order=flags.class_order,
      multi_label=flags.multi_label,
      ema=flags.ema,
      say=lambda text: print(text, flush=True),
    )
    options = exported.Options(
      platforms=[name for name in flags.platforms.split(',') if name],
      size=size,
      beside=flags.parameters == 'beside',
      savedmodel=flags.savedmodel,
    )
    folder = exported.export(predictor, flags.out, options)
    for path in sorted(folder.iterdir()):
      size = path.stat().st_size / 1e6
      print(
        f'{size:10.2f} MB  {path}' if path.is_file() else f'{"":13}  {path}'
      )
  return 0


def _size(text: str) -> tuple[int, int]:
  match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
  if not match:
    raise UserError(
      f"--resize is '{text}'; it takes height x width in pixels, e.g. 256x340."
    )
  return int(match[1]), int(match[2])

"""Looks into checkpoints, and converts them.

python -m vivit_jax.checkpoints inspect PATH
python -m vivit_jax.checkpoints convert SRC DST --to=native|huggingface|scenic
"""

import argparse
import pathlib
import sys

from vivit_jax import config_file
from vivit_jax.checkpoints import convert, sources
from vivit_jax.errors import exit_on_user_error


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m vivit_jax.checkpoints',
    description='Looks into checkpoints of all known formats, and converts.',
  )
  commands = parser.add_subparsers(dest='command', required=True)
  inspect = commands.add_parser('inspect', help='say what a checkpoint is')
  inspect.add_argument('path')
  other = commands.add_parser('convert', help='write it in another format')
  other.add_argument('source')
  other.add_argument('target')
  other.add_argument('--to', choices=convert.WRITERS, required=True)
  other.add_argument('--config', help='file of the model, for native')
  other.add_argument('--frames', type=int, help='of a clip, for huggingface')
  other.add_argument('--crop', type=int, help='pixels, for huggingface')
  other.add_argument('--short_side', type=int, help='pixels, for huggingface')
  flags = parser.parse_args()
  with exit_on_user_error():
    if flags.command == 'inspect':
      print(convert.describe(sources.read(flags.path)))
      return 0
    convert.convert(
      flags.source,
      pathlib.Path(flags.target),
      to=flags.to,
      frames=flags.frames,
      crop=flags.crop,
      short_side=flags.short_side,
      config=flags.config and config_file.run(flags.config),
    )
    print(f'{flags.target} is written')
  return 0


if __name__ == '__main__':
  sys.exit(main())

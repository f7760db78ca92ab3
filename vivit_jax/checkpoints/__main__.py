"""Describes a checkpoint of any known format, or converts it.

python -m vivit_jax.checkpoints inspect PATH
python -m vivit_jax.checkpoints convert SRC DST --to=FORMAT

FORMAT: native, huggingface, scenic, torchvision or videoprism. PATH and SRC may
be names on the Hugging Face Hub, hf://OWNER/NAME[@REVISION][/FILE].
"""

import pathlib
import sys

from absl import flags

from vivit_jax import commands, config_file
from vivit_jax.checkpoints import convert, sources
from vivit_jax.errors import UserError

_TO = flags.DEFINE_enum('to', None, convert.WRITERS, 'Format to convert to.')
_CONFIG = flags.DEFINE_string(
  'config', None, 'native, huggingface: config file, if SRC has none.'
)
_FRAMES = flags.DEFINE_integer('frames', None, 'huggingface: frames per clip.')
_CROP = flags.DEFINE_integer('crop', None, 'huggingface: crop size in pixels.')
_SHORT_SIDE = flags.DEFINE_integer(
  'short_side', None, 'huggingface: short side of resized videos in pixels.'
)


def main(arguments: list[str]) -> None:
  command = arguments[1] if len(arguments) > 1 else ''
  if command == 'inspect':
    (path,) = commands.positional(arguments[1:], 'path')
    commands.say(convert.describe(sources.read(path)))
  elif command == 'convert':
    source, target = commands.positional(arguments[1:], 'src', 'dst')
    if _TO.value is None:
      raise UserError(f'--to is missing: one of {", ".join(convert.WRITERS)}.')
    notes = convert.convert(
      source,
      pathlib.Path(target),
      to=_TO.value,
      frames=_FRAMES.value,
      crop=_CROP.value,
      short_side=_SHORT_SIDE.value,
      config=_CONFIG.value and config_file.run(_CONFIG.value),
    )
    for note in notes:
      commands.say(f'note: {note}')
    commands.say(f'{target} is written')
  else:
    raise UserError(
      f"the command is '{command}'; it is inspect or convert. --help shows the "
      'usage.'
    )


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__))

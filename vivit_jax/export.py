"""Exports a trained model for jax, TensorFlow, TFLite or ONNX.

  python -m vivit_jax.export --workdir=runs/demo --out=DIR
  python -m vivit_jax.export --workdir=runs/demo --out=DIR --format=onnx
  python -m vivit_jax.export --checkpoint=PATH --config=FILE --out=DIR

It maps uint8 frames to probabilities. docs/export.md describes the files.
"""

import re
import sys

from absl import flags

from vivit_jax import commands
from vivit_jax.errors import UserError
from vivit_jax.inference import model_flags

model_flags.define()
_OUT = flags.DEFINE_string('out', None, 'Folder to create.')
_FORMAT = flags.DEFINE_enum(
  'format',
  'stablehlo',
  ('stablehlo', 'savedmodel', 'tflite', 'onnx'),
  'StableHLO runs with only jax.',
)
_PLATFORMS = flags.DEFINE_list(
  'platforms',
  None,
  'Any of cpu, cuda, rocm, tpu, for stablehlo and savedmodel; the default is '
  'cpu,cuda,tpu.',
)
_RESIZE = flags.DEFINE_string(
  'resize', None, 'HxW of the input frames; the default is the crop.'
)
_PARAMETERS = flags.DEFINE_enum(
  'parameters', 'inside', ('inside', 'beside'), 'In the artefact or beside it.'
)
_BATCH = flags.DEFINE_integer(
  'batch',
  None,
  'Clips per call; the default is any number.',
  lower_bound=1,
)


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  model_flags.check()
  size = None if _RESIZE.value is None else _size(_RESIZE.value)
  from vivit_jax.inference import export  # importing jax takes a second

  predictor = model_flags.load()
  commands.raise_on_signals()  # so that an unfinished folder is removed
  folder = export.export(
    predictor,
    _OUT.value,
    format=_FORMAT.value,
    platforms=_PLATFORMS.value,
    size=size,
    beside=_PARAMETERS.value == 'beside',
    batch=_BATCH.value,
  )
  for path in sorted(folder.iterdir()):
    files = [path, *path.rglob('*')]
    megabytes = sum(p.stat().st_size for p in files if p.is_file()) / 1e6
    commands.say(f'{megabytes:10.3f} MB  {path}')


def _size(text: str) -> tuple[int, int]:
  match = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
  if not match:
    raise UserError(
      f"--resize is '{text}'; it takes height x width in pixels, such as "
      '256x340.'
    )
  return int(match[1]), int(match[2])


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__, required=('out',)))

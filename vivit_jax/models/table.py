"""Parameters and arithmetic of every model and size, beside published ones.

  python -m vivit_jax.models.table
  python -m vivit_jax.models.table --markdown=docs/models.md
  python -m vivit_jax.models.table --family=joint --size=L --tubelet=2x16x16

Parameters come from shapes alone. GFLOPs are multiply-adds of the forward pass
of one clip in float32, half of what XLA's cost analysis counts on a CPU: that
is the paper's figure, with attention as the reference code computes it.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from vivit_jax.errors import UserError, exit_on_user_error
from vivit_jax.models import builder
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig

_HEADS = {'label': 400}


@dataclasses.dataclass(frozen=True)
class Case:
  """A model and a clip, and what has been published of them.

  Attributes:
    name: as in its source.
    config: of the model.
    frames, crop: of the clip; height and width are equal.
    parameters: the published figure, in millions.
    gflops: the published figure.
  """

  name: str
  config: ModelConfig
  frames: int = 32
  crop: int = 224
  parameters: float | None = None
  gflops: float | None = None

  def clip(self, batch: int = 1) -> jax.ShapeDtypeStruct:
    shape = (batch, self.frames, self.crop, self.crop, 3)
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def published() -> list[Case]:
  """Returns what each family lists of its sources' tables."""
  return [
    Case(
      row.name,
      ModelConfig(family.name, row.size, heads=_HEADS, options=row.options),
      row.frames or family.clip[0],
      row.crop or family.clip[1],
      row.parameters,
      row.gflops,
    )
    for family in families.every().values()
    for row in family.published
  ]


def every_case() -> list[Case]:
  """Returns the published models, and the other sizes of each family."""
  cases = published()
  listed = {(case.config.family, case.config.size) for case in cases}
  others = [
    Case(family.title or name.replace('_', ' '), config, *family.clip)
    for name, family in families.every().items()
    for size in family.sizes
    if (name, size) not in listed
    and _possible(config := ModelConfig(name, size, heads=_HEADS))
  ]
  return [*cases, *others]


def _possible(config: ModelConfig) -> bool:
  try:
    builder.check(config)
  except UserError:  # heads that cannot be halved, for one
    return False
  return True


def parameters(case: Case) -> int:
  """Counts a model's parameters, without making them."""
  return sum(x.size for x in jax.tree.leaves(_shapes(case)))


def gflops(case: Case) -> float:
  """Returns billions of multiply-adds of one clip's forward pass.

  By XLA's cost analysis of the compiled program on the CPU, halved; nothing is
  run, and no parameters are made.
  """
  model = builder.build(builder.with_attention(case.config, 'flax'))

  def forward(params, video):
    return model.apply({'params': params}, video)

  cost = _compile(forward, _shapes(case), case.clip()).cost_analysis()
  return cost['flops'] / 2 / 1e9


def training_memory(case: Case, batch: int) -> float | None:
  """Returns GiB that a step's gradient needs, by XLA; None if it cannot say.

  Parameters, activations and gradients on the default device, in float32;
  the optimiser's state comes on top.
  """
  model = builder.build(case.config)

  def loss(params, video):
    return model.apply({'params': params}, video)['label'].mean()

  compiled = (
    jax.jit(jax.grad(loss)).lower(_shapes(case), case.clip(batch)).compile()
  )
  memory = compiled.memory_analysis()
  if memory is None:
    return None
  parts = ('argument', 'output', 'temp')
  size = sum(getattr(memory, f'{part}_size_in_bytes') for part in parts)
  return size / 2**30


def _shapes(case: Case):
  return builder.shapes(case.config, case.frames, (case.crop, case.crop))


def _compile(function, *arguments):
  with jax.default_device(jax.devices('cpu')[0]):
    return jax.jit(function).lower(*arguments).compile()


_INTRODUCTION = """# Models: parameters and arithmetic

For 400 classes. Written by `python -m vivit_jax.models.table --markdown=FILE`;
GFLOPs are multiply-adds of one clip, half of what XLA counts, as in the paper.

"""
HEADER = (
  'model',
  'size',
  'tubelet',
  'clip',
  'parameters',
  'published, M',
  'GFLOPs',
  'published',
)


def row(case: Case) -> tuple[str, ...]:
  tubelet = getattr(case.config.options, 'tubelet', ())
  return (
    case.name,
    case.config.size,
    'x'.join(map(str, tubelet)),
    f'{case.frames}x{case.crop}x{case.crop}',
    f'{parameters(case):,}',
    '' if case.parameters is None else f'{case.parameters}',
    f'{gflops(case):.1f}',
    '' if case.gflops is None else f'{case.gflops}',
  )


def as_markdown(rows: Iterable[tuple[str, ...]]) -> str:
  lines = ['| ' + ' | '.join(cells) + ' |' for cells in (HEADER, *rows)]
  rule = '|---' * len(HEADER) + '|'
  return _INTRODUCTION + '\n'.join([lines[0], rule, *lines[1:]]) + '\n'


def _print(rows: Iterable[tuple[str, ...]]) -> None:
  widths = (42, 4, 9, 11, 13, 12, 7, 9)
  for cells in (HEADER, *rows):
    print(
      '  '.join(
        f'{cell:<{width}}' if place < 4 else f'{cell:>{width}}'
        for place, (cell, width) in enumerate(zip(cells, widths))
      ),
      flush=True,
    )


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m vivit_jax.models.table',
    description='Prints parameters and GFLOPs of models for 400 classes.',
  )
  add = parser.add_argument
  add('--markdown', metavar='FILE', help='write the table there as well')
  add('--family', choices=families.every(), help='one model alone')
  add('--size', help='one size alone; B, with --family')
  one = parser.add_argument_group('with --family')
  one.add_argument('--tubelet', help='frames x height x width (2x16x16)')
  one.add_argument('--frames', type=int, help='of a clip (32)')
  one.add_argument('--crop', type=int, help='height and width (224)')
  one.add_argument(
    '--temporal_layers', type=int, help='of factorised_encoder (4)'
  )
  one.add_argument(
    '--batch_size', type=int, help='estimate the memory of training on it'
  )
  flags = parser.parse_args()
  with exit_on_user_error():
    if flags.markdown:
      _check_writable(pathlib.Path(flags.markdown))
    cases = _cases(flags)
    rows = []
    _print(_remember(map(row, cases), rows))
    if flags.family and flags.batch_size:
      memory = training_memory(cases[0], flags.batch_size)
      known = 'unknown' if memory is None else f'{memory:.1f} GiB'
      print(f'training on {flags.batch_size} clips: {known}, by XLA')
    if flags.markdown:
      _write(pathlib.Path(flags.markdown), as_markdown(rows))
  return 0


def _cases(flags: argparse.Namespace) -> list[Case]:
  """Returns the one model that is asked for, or all, or all of a size."""
  if flags.family:
    return [_case(flags)]
  for name in ('tubelet', 'frames', 'crop', 'temporal_layers', 'batch_size'):
    if getattr(flags, name) is not None:
      raise UserError(f'--{name} is of one model: give its --family too.')
  cases = [c for c in every_case() if flags.size in (None, c.config.size)]
  if not cases:
    raise UserError(
      f"--size is '{flags.size}'; known are "
      f'{", ".join(dict.fromkeys(c.config.size for c in every_case()))}.'
    )
  return cases


def _case(flags: argparse.Namespace) -> Case:
  family = families.get(flags.family)
  frames = family.clip[0] if flags.frames is None else flags.frames
  crop = family.clip[1] if flags.crop is None else flags.crop
  options = {}
  if flags.tubelet:
    try:
      options['tubelet'] = tuple(int(x) for x in flags.tubelet.split('x'))
    except ValueError:
      raise UserError(
        f"--tubelet is '{flags.tubelet}'; it is frames x height x width, as in "
        '2x16x16.'
      ) from None
  if flags.temporal_layers is not None:
    options['temporal_layers'] = flags.temporal_layers
  size = flags.size or (
    'B' if 'B' in family.sizes else next(iter(family.sizes))
  )
  config = ModelConfig(family.name, size, heads=_HEADS, options=options)
  builder.check(config)
  if min(frames, crop) < 1:
    raise UserError('--frames and --crop are at least 1.')
  family.check_clip(config.options, frames, (crop, crop))
  return Case(family.title or family.name, config, frames, crop)


def _remember(rows: Iterable, kept: list) -> Iterable:
  for cells in rows:
    kept.append(cells)
    yield cells


def _check_writable(path: pathlib.Path) -> None:
  """Raises a UserError before the minutes of work, not after them."""
  parent = path.parent if path.parent.exists() else path.parent.parent
  if path.is_dir() or not os.access(parent, os.W_OK) or parent.is_file():
    raise UserError(f'cannot write {path}: it is a folder, or not yours.')


def _write(path: pathlib.Path, text: str) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None


if __name__ == '__main__':
  sys.exit(main())

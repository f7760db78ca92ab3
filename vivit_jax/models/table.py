"""Parameters and arithmetic of every model and size, beside the paper's.

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
from vivit_jax.models import attention
from vivit_jax.models.build import FAMILIES, SIZES, build


@dataclasses.dataclass(frozen=True)
class Case:
  """A model and a clip, and what the paper says of them.

  Attributes:
    name: as in the paper.
    family, size, tubelet: of `build`.
    changes: further arguments of `build`.
    frames, crop: of the clip; height and width are equal.
    parameters: the paper's figure, in millions.
    gflops: the paper's figure.
  """

  name: str
  family: str
  size: str
  tubelet: tuple[int, int, int] = (2, 16, 16)
  changes: tuple[tuple[str, object], ...] = ()
  frames: int = 32
  crop: int = 224
  parameters: float | None = None
  gflops: float | None = None

  def model(self):
    return build(
      family=self.family,
      size=self.size,
      heads={'label': 400},
      tubelet=self.tubelet,
      **dict(self.changes),
    )

  def clip(self, batch: int = 1) -> jax.ShapeDtypeStruct:
    shape = (batch, self.frames, self.crop, self.crop, 3)
    return jax.ShapeDtypeStruct(shape, jnp.float32)


# Paper, tables 2, 3, 5 and 6, by model, with the paper's M and GFLOPs.
PAPER = (
  Case('1 joint', 'joint', 'B', parameters=88.9, gflops=455.2),
  Case(
    '2 factorised encoder',
    'factorised_encoder',
    'B',
    parameters=115.1,
    gflops=284.4,
  ),
  Case(
    '2 average-pooled',
    'factorised_encoder',
    'B',
    changes=(('temporal_layers', 0),),
    parameters=86.7,
    gflops=283.9,
  ),
  Case(
    '3 factorised self-attention',
    'factorised_self_attention',
    'B',
    parameters=117.3,
    gflops=372.3,
  ),
  Case(
    '4 factorised dot-product',
    'factorised_dot_product',
    'B',
    parameters=88.9,
    gflops=277.1,
  ),
  Case('1 joint', 'joint', 'L', gflops=1446.0),
  Case(
    '2 factorised encoder, 24 temporal layers',
    'factorised_encoder',
    'L',
    changes=(('temporal_layers', 24),),
    gflops=995.3,
  ),
)


def every_case() -> list[Case]:
  """Returns the paper's models, and the other sizes of each family."""
  listed = {(case.family, case.size) for case in PAPER}
  others = [
    Case(f'{1 + number} {family.replace("_", " ")}', family, size)
    for number, family in enumerate(FAMILIES)
    for size in SIZES
    if (family, size) not in listed and not _impossible(family, size)
  ]
  return [*PAPER, *others]


def _impossible(family: str, size: str) -> bool:
  # Heads that cannot be halved between space and time.
  return family == 'factorised_dot_product' and size == 'Ti'


def parameters(case: Case) -> int:
  """Counts a model's parameters, without making them."""
  shapes = _shapes(case)
  return sum(x.size for x in jax.tree.leaves(shapes))


def gflops(case: Case) -> float:
  """Returns billions of multiply-adds of one clip's forward pass.

  By XLA's cost analysis of the compiled program on the CPU, halved; nothing is
  run, and no parameters are made.
  """
  model = attention.computed_as(case.model(), 'flax')

  def forward(params, video):
    return model.apply({'params': params}, video)

  cost = _compile(forward, _shapes(case), case.clip()).cost_analysis()
  return cost['flops'] / 2 / 1e9


def training_memory(case: Case, batch: int) -> float | None:
  """Returns GiB that a step's gradient needs, by XLA; None if it cannot say.

  Parameters, activations and gradients on the default device, in float32;
  the optimiser's state comes on top.
  """
  model = case.model()

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
  return jax.eval_shape(case.model().init, jax.random.key(0), case.clip())[
    'params'
  ]


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
  'paper, M',
  'GFLOPs',
  'paper',
)


def row(case: Case) -> tuple[str, ...]:
  t, h, w = case.tubelet
  return (
    case.name,
    case.size,
    f'{t}x{h}x{w}',
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
  widths = (42, 4, 9, 11, 13, 8, 7, 6)
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
  add('--family', choices=FAMILIES, help='one model alone')
  add('--size', choices=SIZES, help='one size alone; B, with --family')
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
  return [c for c in every_case() if flags.size in (None, c.size)]


def _case(flags: argparse.Namespace) -> Case:
  frames = 32 if flags.frames is None else flags.frames
  crop = 224 if flags.crop is None else flags.crop
  text = flags.tubelet or '2x16x16'
  try:
    tubelet = tuple(int(side) for side in text.split('x'))
  except ValueError:
    tubelet = ()
  if len(tubelet) != 3 or min(tubelet) < 1:
    raise UserError(
      f"--tubelet is '{text}'; it is frames x height x width, as in 2x16x16."
    )
  if min(frames, crop) < 1 or any(
    size % part for size, part in zip((frames, crop, crop), tubelet)
  ):
    raise UserError(
      f'a clip of {frames} frames of {crop} pixels cannot be cut into '
      f'tubelets of {text}.'
    )
  layers = 4 if flags.temporal_layers is None else flags.temporal_layers
  if layers < 0:
    raise UserError(f'--temporal_layers is {layers}; at least 0.')
  changes = ()
  if flags.family == 'factorised_encoder':
    changes = (('temporal_layers', layers),)
  name, size = flags.family, flags.size or 'B'
  return Case(name, name, size, tubelet, changes, frames, crop)


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

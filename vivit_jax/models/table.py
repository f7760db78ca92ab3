"""Parameters and GFLOPs of every model and size, beside published ones.

  python -m vivit_jax.models.table
  python -m vivit_jax.models.table --markdown=docs/models.md
  python -m vivit_jax.models.table --family=joint --option=tubelet=2,8,8

For 400 classes. GFLOPs are billions of multiply-adds in the forward pass of one
clip, as in the paper: half of XLA's count for the CPU, in float32, with the
reference's implementation of attention.
"""

import ast
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from vivit_jax import commands
from vivit_jax.errors import UserError
from vivit_jax.models import builder
from vivit_jax.models import family as families
from vivit_jax.models.family import ModelConfig

_HEADS = {'label': 400}
_COLUMNS = {  # -> width in the terminal; the first four are left-aligned
  'model': 42,
  'size': 4,
  'tubelet': 9,
  'clip': 11,
  'parameters': 13,
  'published, M': 12,
  'GFLOPs': 7,
  'published': 9,
}
_INTRODUCTION = """# Models: parameters and arithmetic

For 400 classes. Written by `python -m vivit_jax.models.table --markdown=FILE`;
GFLOPs are multiply-adds of one clip, half of what XLA counts, as in the paper.

"""


@dataclasses.dataclass(frozen=True)
class Case:
  """A model with a clip shape, and its published figures.

  Attributes:
    name: as in the publication.
    config: model config.
    frames: frames per clip.
    crop: height and width in pixels.
    parameters, gflops: see `family.Published`.
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

  def params(self) -> Any:
    """Returns the shapes of the parameters."""
    crop = (self.crop, self.crop)
    return builder.shapes(self.config, self.frames, crop)


def published() -> list[Case]:
  """Returns the published variants of all families."""
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


def every_case(size: str | None = None) -> list[Case]:
  """Returns the published variants, then the other sizes of each family.

  Args:
    size: the only model.size to return; None for all.

  Raises:
    UserError: a size that no family has.
  """
  cases = published()
  listed = {(case.config.family, case.config.size) for case in cases}
  for name, family in families.every().items():
    for other in family.sizes:
      config = ModelConfig(name, other, heads=_HEADS)
      if (name, other) not in listed and _can_be_built(config):
        title = family.title or name.replace('_', ' ')
        cases.append(Case(title, config, *family.clip))
  selected = [case for case in cases if size in (None, case.config.size)]
  if not selected:
    sizes = dict.fromkeys(case.config.size for case in cases)
    raise UserError(f"--size is '{size}'; it takes one of {', '.join(sizes)}.")
  return selected


def one_case(
  name: str,
  size: str | None = None,
  frames: int | None = None,
  crop: int | None = None,
  options: Mapping[str, Any] | None = None,
) -> Case:
  """Returns one model of a family.

  Args:
    name: family name.
    size: model.size; None for 'B', or the family's default if it has no 'B'.
    frames, crop: as of `Case`; None for the family's default.
    options: values of model.options.

  Raises:
    UserError: a model that cannot be built, or a clip that does not fit it.
  """
  family = families.get(name)
  if size is None and 'B' in family.sizes:
    size = 'B'
  config = ModelConfig(name, size, heads=_HEADS, options=options)
  builder.check(config)
  frames, crop = frames or family.clip[0], crop or family.clip[1]
  family.check_clip(config.options, frames, (crop, crop))
  return Case(family.title or name, config, frames, crop)


def _can_be_built(config: ModelConfig) -> bool:
  try:
    builder.check(config)
  except UserError:  # Model 4 needs an even number of attention heads
    return False
  return True


def parameters(case: Case) -> int:
  """Returns the number of parameters, without allocating them."""
  return sum(x.size for x in jax.tree.leaves(case.params()))


def gflops(case: Case) -> float:
  """Returns billions of multiply-adds in one clip's forward pass.

  This is half of XLA's count for the program compiled for the CPU.
  """
  model = builder.build(builder.with_attention(case.config, 'flax'))

  def forward(params, video):
    return model.apply({'params': params}, video)

  with jax.default_device(jax.devices('cpu')[0]):
    lowered = jax.jit(forward).lower(case.params(), case.clip())
    return lowered.compile().cost_analysis()['flops'] / 2 / 1e9


def training_memory(case: Case, batch: int) -> float | None:
  """Returns the GiB that XLA needs to compute the gradient of a batch of clips.

  Includes parameters, activations and gradients, in float32 on the default
  device; excludes the optimiser's state. None if XLA does not report it.
  """
  model = builder.build(case.config)

  def loss(params, video):
    return model.apply({'params': params}, video)['label'].mean()

  lowered = jax.jit(jax.grad(loss)).lower(case.params(), case.clip(batch))
  memory = lowered.compile().memory_analysis()
  if memory is None:
    return None
  parts = ('argument', 'output', 'temp')
  size = sum(getattr(memory, f'{part}_size_in_bytes') for part in parts)
  return size / 2**30


def row(case: Case) -> tuple[str, ...]:
  """Returns the cells of one row."""
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
  """Returns the page docs/models.md."""
  lines = ['| ' + ' | '.join(cells) + ' |' for cells in (_COLUMNS, *rows)]
  rule = '|---' * len(_COLUMNS) + '|'
  return _INTRODUCTION + '\n'.join([lines[0], rule, *lines[1:]]) + '\n'


def _print(cells: Iterable[str]) -> None:
  """Prints a row, aligned in columns."""
  aligned = [
    f'{cell:<{width}}' if column < 4 else f'{cell:>{width}}'
    for column, (cell, width) in enumerate(zip(cells, _COLUMNS.values()))
  ]
  commands.say('  '.join(aligned))


def define_flags() -> None:
  """Defines the flags of this command."""
  integer = flags.DEFINE_integer
  flags.DEFINE_string('markdown', None, 'Markdown file for the same table.')
  flags.DEFINE_string('family', None, 'Only one model of this family.')
  flags.DEFINE_string('size', None, 'Only this size; default with --family: B.')
  flags.DEFINE_multi_string(
    'option', [], '--family: KEY=VALUE of model.options.'
  )
  integer('frames', None, '--family: frames of a clip.', lower_bound=1)
  integer('crop', None, '--family: height and width.', lower_bound=1)
  integer('batch_size', None, '--family: estimate the memory of training.')


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  values = flags.FLAGS
  if values.family:
    options = dict(map(_option, values.option))
    case = one_case(
      values.family, values.size, values.frames, values.crop, options
    )
    cases = [case]
  else:
    for name in ('option', 'frames', 'crop', 'batch_size'):
      if values[name].present:
        raise UserError(f'--{name} needs --family.')
    cases = every_case(values.size)
  path = pathlib.Path(values.markdown) if values.markdown else None
  if path:
    _check_writable(path)
  _print(_COLUMNS)
  rows = []
  for case in cases:
    rows.append(row(case))
    _print(rows[-1])
  if values.family and values.batch_size:
    memory = training_memory(case, values.batch_size)
    text = 'unknown' if memory is None else f'{memory:.1f} GiB'
    commands.say(f'training on {values.batch_size} clips: {text}, by XLA')
  if path:
    _write(path, as_markdown(rows))


def _option(text: str) -> tuple[str, Any]:
  """Parses KEY=VALUE; the value is a Python literal, or else a string."""
  key, _, value = text.partition('=')
  try:
    return key, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return key, value


def _check_writable(path: pathlib.Path) -> None:
  """Raises a UserError for an unwritable file before models are compiled."""
  parent = next(p for p in path.absolute().parents if p.exists())
  if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
    raise UserError(
      f'cannot write {path}: it is a folder, or its folder is not writable.'
    )


def _write(path: pathlib.Path, text: str) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None


if __name__ == '__main__':
  define_flags()
  sys.exit(commands.run(main, __doc__))

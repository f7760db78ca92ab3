"""Parameters and GFLOPs of every model and size, beside published ones.

  python -m vivit_jax.models.table
  python -m vivit_jax.models.table --family=joint --size=L

Prints the Markdown table of docs/models.md. Models have 400 classes. "products"
are the multiply-adds of the matrix products and convolutions of one clip's
forward pass. "XLA" is the count that the paper published, for models that it
has: half of XLA's operations for the CPU, in float32, with the reference's
implementation of attention. It includes norms, softmax and activations.
"""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from vivit_jax import commands
from vivit_jax.errors import UserError
from vivit_jax.models import arithmetic, builder
from vivit_jax.models import family as families
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import ModelConfig

_HEADS = {'label': 400}
_HEADER = """\
| model | size | tubelet | clip | parameters | paper, M | products, G | XLA, G | paper, G |
|---|---|---|---|---|---|---|---|---|"""  # noqa: E501


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
  frames: int
  crop: int
  parameters: float | None = None
  gflops: float | None = None

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


def every_case() -> list[Case]:
  """Returns the published variants, then the other sizes of each family."""
  cases = published()
  listed = {(case.config.family, case.config.size) for case in cases}
  for name, family in families.every().items():
    for size in family.sizes:
      config = ModelConfig(name, size, heads=_HEADS)
      if (name, size) not in listed and _can_be_built(config):
        title = family.title or name.replace('_', ' ')
        cases.append(Case(title, config, *family.clip))
  return cases


def _can_be_built(config: ModelConfig) -> bool:
  try:
    builder.check(config)
  except UserError:  # Model 4 needs an even number of attention heads
    return False
  return True


def parameters(case: Case) -> int:
  """Returns the number of parameters, without allocating them."""
  return sum(x.size for x in jax.tree.leaves(case.params()))


def products(case: Case) -> float:
  """Returns billions of multiply-adds in products and convolutions."""
  crop = (case.crop, case.crop)
  return arithmetic.forward_multiply_adds(case.config, case.frames, crop) / 1e9


def gflops(case: Case) -> float:
  """Returns billions of multiply-adds in one clip's forward pass.

  This is half of XLA's count for the program compiled for the CPU, up to the
  head.
  """
  model = builder.build(builder.with_attention(case.config, 'flax'))
  shape = (1, case.frames, case.crop, case.crop, 3)
  clip = jax.ShapeDtypeStruct(shape, jnp.float32)

  def forward(params, video):  # all tokens
    return model.backbone.apply({'params': params}, video, Mode())

  with jax.default_device(jax.devices('cpu')[0]):
    lowered = jax.jit(forward).lower(case.params(), clip)
    return lowered.compile().cost_analysis()['flops'] / 2 / 1e9


def row(case: Case) -> str:
  """Returns one row of the table."""
  options = case.config.options
  tubelet = getattr(options, 'tubelet', ())
  if patch := getattr(options, 'patch', None):  # of a frame
    tubelet = 1, patch, patch
  cells = [
    case.name,
    case.config.size,
    'x'.join(map(str, tubelet)),
    f'{case.frames}x{case.crop}x{case.crop}',
    f'{parameters(case):,}',
    '' if case.parameters is None else f'{case.parameters}',
    f'{products(case):.1f}',
    '' if case.gflops is None else f'{gflops(case):.1f}',
    '' if case.gflops is None else f'{case.gflops}',
  ]
  return '| ' + ' | '.join(cells) + ' |'


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_string('family', None, 'Only models of this family.')
  flags.DEFINE_string('size', None, 'Only models of this size.')


def main(arguments: list[str]) -> None:
  commands.no_positional(arguments)
  values = flags.FLAGS
  if values.family:
    families.get(values.family)
  cases = [
    case
    for case in every_case()
    if values.family in (None, case.config.family)
    and values.size in (None, case.config.size)
  ]
  if not cases:
    raise UserError(f"no model has --size '{values.size}'.")
  commands.say(_HEADER)
  for case in cases:
    commands.say(row(case))


if __name__ == '__main__':
  define_flags()
  sys.exit(commands.run(main, __doc__))

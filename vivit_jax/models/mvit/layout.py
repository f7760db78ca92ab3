"""Sizes of MViT, and the widths, strides and kernels of its blocks."""

import dataclasses
from typing import Any

from vivit_jax.errors import UserError
from vivit_jax.models.family import Grid, ModelConfig

# Stride of the cube embedding, in frames and pixels.
STEM_STRIDE = (2, 4, 4)
STEM_KERNEL = (3, 7, 7)
HALF = (1, 2, 2)  # query stride at the start of a stage
_ONE = (1, 1, 1)


@dataclasses.dataclass(frozen=True)
class Size:
  """Sizes of a network; see `mvit.Options` for their meaning."""

  layers: int
  attention_heads: int
  width: int
  stages: tuple[int, ...]
  kernels: str = 'cube'


# Size -> version -> its sizes (papers; facebookresearch/SlowFast).
SIZES = {
  'S': {2: Size(16, 1, 96, (1, 3, 14))},
  'B': {1: Size(16, 1, 96, (1, 3, 14)), 2: Size(24, 1, 96, (2, 5, 21))},
  'L': {2: Size(48, 2, 144, (2, 8, 44))},
  'B24': {1: Size(24, 1, 96, (2, 5, 21), 'stride')},
}


def of(config: ModelConfig) -> Size:
  """Returns the sizes of model.size, replaced by those that options set.

  Raises:
    UserError: a size that this version of MViT does not have.
  """
  options, versions = config.options, SIZES[config.size]
  if options.version not in versions:
    known = [name for name, of in SIZES.items() if options.version in of]
    raise UserError(
      f"model.size is '{config.size}', which version {options.version} of "
      f'MViT (model.options.version) does not have: it has {", ".join(known)}.'
    )
  size = versions[options.version]
  keys = [field.name for field in dataclasses.fields(Size)]
  own = {key: getattr(options, key) for key in keys}
  return dataclasses.replace(
    size, **{key: value for key, value in own.items() if value is not None}
  )


def named(version: int, size: Size) -> tuple[str, dict[str, Any]]:
  """Returns model.size, and options for what it does not have."""
  for name, versions in SIZES.items():
    if versions.get(version) == size:
      return name, {}
  return 'B', dataclasses.asdict(size)


def check(config: ModelConfig) -> None:
  """Raises a UserError for a network that cannot be built."""
  size, options = of(config), config.options
  if size.width % size.attention_heads:
    raise UserError(
      f'the width of {size.width} is no multiple of {size.attention_heads} '
      'attention heads: set model.options.width or attention_heads.'
    )
  stages = size.stages
  if list(stages) != sorted({*stages}) or not all(
    0 < first < size.layers for first in stages
  ):
    raise UserError(
      f'model.options.stages is {stages}; it takes increasing numbers of '
      f'blocks from 1 to {size.layers - 1}.'
    )
  if options.version == 2 and config.attention not in (
    'auto',
    'plain',
    'chunked',
  ):
    raise UserError(
      f"model.attention is '{config.attention}', which has no relative "
      "positions: MViT v2 takes 'auto', 'plain' or 'chunked'."
    )


@dataclasses.dataclass(frozen=True)
class Block:
  """Sizes of one block.

  Attributes:
    width: of its input, C.
    attention: width of queries, keys and values, A.
    out: width of its output.
    heads: attention heads.
    query_stride, key_stride: of queries; of keys and values.
    query_kernel, key_kernel: None: they are neither convolved nor normed.
    table: t and s for which the tables of relative positions have 2 t - 1 and,
      for height and width, 2 s - 1 rows.
  """

  width: int
  attention: int
  out: int
  heads: int
  query_stride: Grid
  key_stride: Grid
  query_kernel: Grid | None
  key_kernel: Grid | None
  table: tuple[int, int]

  @property
  def starts_stage(self) -> bool:
    return self.query_stride != _ONE


def blocks(
  size: Size, version: int, frames: int, crop: tuple[int, int]
) -> list[Block]:
  """Returns the sizes of all blocks, for clips of these sizes in pixels.

  Each stage doubles width and heads, halves the query's grid in space, and
  halves the stride of keys and values, which is 1 in the last stage. In v1 the
  width doubles in the MLP before a stage, in v2 in its first attention.

  Tables of relative positions have the lengths of the official code, which
  divides sides by strides and rounds down, where convolutions round up. For
  crops that are no squares, as in torchvision, they fit the longer side.
  """
  t = max(frames // STEM_STRIDE[0], 1)
  side = max(max(crop) // STEM_STRIDE[1], 1)

  def stage_of(layer: int) -> int:
    return sum(first <= layer for first in size.stages)

  result = []
  for layer in range(size.layers):
    stage = stage_of(layer)
    before = stage if version == 1 else stage_of(layer - 1)
    after = stage_of(layer + 1) if version == 1 else stage
    query_stride = HALF if layer in size.stages else _ONE
    step = 2 ** (len(size.stages) - stage)
    pools_query = version == 2 or layer in size.stages
    query_side = max(side // query_stride[1], 1)
    result.append(
      Block(
        width=size.width * 2**before,
        attention=size.width * 2**stage,
        out=size.width * 2**after,
        heads=size.attention_heads * 2**stage,
        query_stride=query_stride,
        key_stride=(1, step, step),
        query_kernel=_kernel(size.kernels, query_stride, pools_query),
        key_kernel=_kernel(size.kernels, (1, step, step)),
        table=(t, max(query_side, side // step)),
      )
    )
    side = query_side
  return result


def _kernel(kind: str, stride: Grid, pools: bool = True) -> Grid | None:
  """Returns the pooling kernel of a stride; see `mvit.Options.kernels`."""
  if not pools or (kind != 'cube' and stride == _ONE):
    return None
  if kind == 'stride':
    return tuple(step + 1 if step > 1 else 1 for step in stride)
  return (3, 3, 3)


def grid(options: Any, frames: int, crop: tuple[int, int]) -> Grid:
  """Returns the token grid of the first stage; `Family.grid`."""
  del options
  return after((frames, *crop), STEM_STRIDE)


def after(grid: Grid, stride: Grid) -> Grid:
  """Returns a grid after a stride, rounded up."""
  t, h, w = (-(-side // step) for side, step in zip(grid, stride))
  return t, h, w

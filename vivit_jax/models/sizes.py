"""ViT sizes, shared by ViViT and its relatives."""

import dataclasses
import typing
from typing import Any, Literal

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import family as families

if typing.TYPE_CHECKING:
  from collections.abc import Mapping

  from vivit_jax.models.family import ModelConfig


@dataclasses.dataclass(frozen=True)
class Size:
  """Number of blocks and attention heads, width D, hidden width of the MLP."""

  layers: int
  attention_heads: int
  width: int
  mlp: int


# B, L and H: paper, section 4.1. Ti and S: DeiT (arXiv 2012.12877).
SIZES = {
  'Ti': Size(12, 3, 192, 768),
  'S': Size(12, 6, 384, 1536),
  'B': Size(12, 12, 768, 3072),
  'L': Size(24, 16, 1024, 4096),
  'H': Size(32, 16, 1280, 5120),
}
# g of VideoMAE v2 and VideoPrism, whose MLP is 48 / 11 of the width.
GIANT = Size(40, 16, 1408, 6144)


@dataclasses.dataclass(frozen=True)
class Options:
  """Config keys of most ViTs. None: as in model.size."""

  width: int | None = typed.limited(None, at_least=1)
  attention_heads: int | None = typed.limited(None, at_least=1)
  mlp_width: int | None = typed.limited(None, at_least=1)
  gelu: Literal['exact', 'tanh'] = 'exact'
  norm_epsilon: float = typed.limited(1e-6, above=0)


def of(config: 'ModelConfig') -> Size:
  """Returns the sizes of model.size, replaced by those that options set."""
  size = families.get(config.family).sizes[config.size]
  options = config.options
  depth = getattr(options, 'layers', None) or getattr(
    options, 'spatial_layers', None
  )
  return Size(
    depth or size.layers,
    options.attention_heads or size.attention_heads,
    options.width or size.width,
    options.mlp_width or size.mlp,
  )


def check_heads(config: 'ModelConfig') -> None:
  """Raises a UserError unless attention heads divide the width."""
  size = of(config)
  if size.width % size.attention_heads:
    raise UserError(
      f'the width of {size.width} is no multiple of {size.attention_heads} '
      'attention heads: set model.options.width or attention_heads.'
    )


def of_pool(config: 'ModelConfig') -> tuple[int, int]:
  """Returns the attention heads and MLP width of the pool 'attention'."""
  size = of(config)
  return size.attention_heads, size.mlp


def named(
  heads: int, width: int, mlp: int, known: 'Mapping[str, Size]' = SIZES
) -> tuple[str, dict[str, Any]]:
  """Returns model.size, and options for widths that no known size has."""
  for name, size in known.items():
    if (size.attention_heads, size.width, size.mlp) == (heads, width, mlp):
      return name, {}
  nearest = 'B' if 'B' in known else next(iter(known))
  return nearest, {'attention_heads': heads, 'width': width, 'mlp_width': mlp}


def named_by(
  found: 'Mapping[str, int]', known: 'Mapping[str, Size]' = SIZES
) -> tuple[str, dict[str, Any]]:
  """Returns `named` of the widths under their keys of model.options."""
  keys = 'attention_heads', 'width', 'mlp_width'
  return named(*(found[key] for key in keys), known)


def tubelet_grid(
  options: Any, frames: int, crop: tuple[int, int]
) -> tuple[int, int, int]:
  """Returns the token grid (t, h, w) of tubelets; `Family.grid`."""
  t, h, w = (
    size // part for size, part in zip((frames, *crop), options.tubelet)
  )
  return t, h, w


def check_tubelets(options: Any, frames: int, crop: tuple[int, int]) -> None:
  """Raises a UserError for a clip that tubelets do not divide."""
  t, *patch = options.tubelet
  if frames % t:
    raise UserError(
      f'data.frames is {frames}; model.options.tubelet requires a multiple of '
      f'{t}.'
    )
  for side, pixels, part in zip(('height', 'width'), crop, patch):
    if pixels % part:
      raise UserError(
        f'data.crop has {side} {pixels}; model.options.tubelet requires a '
        f'multiple of {part}.'
      )


def patch_grid(
  options: Any, frames: int, crop: tuple[int, int]
) -> tuple[int, int, int]:
  """Returns the token grid (t, h, w) of patches of frames; `Family.grid`."""
  h, w = (side // options.patch for side in crop)
  return frames, h, w


def check_patches(options: Any, frames: int, crop: tuple[int, int]) -> None:
  """Raises a UserError for a crop that patches do not divide."""
  del frames
  if any(side % options.patch for side in crop):
    raise UserError(
      f'data.crop is {crop[0]} x {crop[1]}; model.options.patch requires '
      f'multiples of {options.patch}.'
    )

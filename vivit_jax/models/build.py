"""The table of sizes, and a model from explicit arguments."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from vivit_jax.errors import UserError, nearest
from vivit_jax.models.factorised_encoder import FactorisedEncoder


@dataclasses.dataclass(frozen=True)
class Size:
  """Of a transformer: blocks, attention heads, D, the MLP's hidden width."""

  layers: int
  attention_heads: int
  width: int
  mlp: int


# B, L and H: paper, section 4.1. Ti and S: the ViT family (arXiv 2012.12877).
SIZES = {
  'Ti': Size(12, 3, 192, 768),
  'S': Size(12, 6, 384, 1536),
  'B': Size(12, 12, 768, 3072),
  'L': Size(24, 16, 1024, 4096),
  'H': Size(32, 16, 1280, 5120),
}

FAMILIES = ('factorised_encoder',)


def build(
  *,
  family: str,
  size: str,
  heads: Mapping[str, int],
  tubelet: tuple[int, int, int],
  spatial_layers: int | None = None,
  temporal_layers: int = 4,
  kernel_init: str = 'central_frame',
  stochastic_depth: float = 0.0,
  dtype: str = 'float32',
) -> FactorisedEncoder:
  """Returns the Flax module of a model.

  Args:
    family: one of `FAMILIES`.
    size: a key of `SIZES`.
    heads: name of each head -> number of classes.
    tubelet: frames, height and width of a tubelet, in pixels.
    spatial_layers: L_s; None for the size's own depth.
    temporal_layers: L_t; 0 averages over time instead.
    kernel_init: 'central_frame' or 'random'.
    stochastic_depth: rate at the last block, 0 for none.
    dtype: 'float32' or 'bfloat16', of the computation.

  Raises:
    UserError: an unknown family or size.
  """
  if family not in FAMILIES:
    raise UserError(
      f"model.family is '{family}'; known are {', '.join(FAMILIES)}."
      + nearest(family, FAMILIES)
    )
  if size not in SIZES:
    raise UserError(f"model.size is '{size}'; known are {', '.join(SIZES)}.")
  table = SIZES[size]
  return FactorisedEncoder(
    heads=dict(heads),
    width=table.width,
    attention_heads=table.attention_heads,
    mlp=table.mlp,
    spatial_layers=table.layers if spatial_layers is None else spatial_layers,
    temporal_layers=temporal_layers,
    tubelet=tuple(tubelet),
    kernel_init=kernel_init,
    stochastic_depth=stochastic_depth,
    dtype=jnp.dtype(dtype),
  )

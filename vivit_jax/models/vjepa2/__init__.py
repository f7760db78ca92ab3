"""V-JEPA 2 as a family (arXiv 2506.09985): encoder, attentive pool and probe.

Follows facebookresearch/vjepa2 at commit c2963a4. The predictor, which only the
pretraining has, is not here. The head starts at zero, as in all families.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import blocks, image_vit, layer_rules, sizes
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  Grid,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.rollout import Rollout, attended, pair, with_residual
from vivit_jax.models.vivit.rollout import through_one_encoder
from vivit_jax.models.vjepa2 import files, network, weights


@dataclasses.dataclass(frozen=True)
class Options(sizes.Options):
  """Config keys of V-JEPA 2."""

  # Frames, height and width, in pixels.
  tubelet: tuple[int, int, int] = typed.limited((2, 16, 16), at_least=1)
  # Numbers of the blocks, from 0, whose tokens are pooled together, each normed
  # by the final norm; (): of the last block.
  features_of: tuple[int, ...] = typed.limited((), at_least=0)
  # None: as in model.size.
  layers: int | None = typed.limited(None, at_least=1)


def _build(config: ModelConfig, class_token: bool) -> network.VJepa2:
  size, options = sizes.of(config), config.options
  return network.VJepa2(
    width=size.width,
    depth=size.layers,
    options=blocks.vit_options(config),
    tubelet=options.tubelet,
    kernel_init='torch',
    positions='none',
    class_token=class_token,
    features_of=options.features_of,
  )


def _check(config: ModelConfig) -> None:
  sizes.check_heads(config)
  chosen, layers = config.options.features_of, sizes.of(config).layers
  if any(layer >= layers for layer in chosen):
    raise UserError(
      f'model.options.features_of is {chosen}; blocks are numbered from 0 to '
      f'{layers - 1}.'
    )
  if chosen and config.scan:
    raise UserError(
      'model.scan keeps the output of the last block alone: set it to False, '
      'or model.options.features_of to ().'
    )


def _check_clip(options: Options, frames: int, crop: tuple[int, int]) -> None:
  sizes.check_tubelets(options, _filled(options, frames), crop)


def _grid(options: Options, frames: int, crop: tuple[int, int]) -> Grid:
  return sizes.tubelet_grid(options, _filled(options, frames), crop)


def _filled(options: Options, frames: int) -> int:
  """Returns the frames of a clip, of which a single one fills a tubelet."""
  return options.tubelet[0] if frames == 1 else frames


def _pool_sizes(config: ModelConfig) -> tuple[int, int]:
  size = sizes.of(config)
  return size.attention_heads, 4 * size.width


def _attention_flow(
  captured: Mapping[str, Any], config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout; `captured` are queries and keys before rotation."""
  if config.options.features_of:
    raise UserError(
      'attention rollout is not defined for model.options.features_of: set '
      '--explain_by=gradient.'
    )

  def through(row: jax.Array, block: Mapping[str, Any]) -> jax.Array:
    both = pair(block['MultiHeadDotProductAttention_0'])
    query, key = (network.rotated(x, grid) for x in both)
    return with_residual(row, attended(row, query, key))

  return through_one_encoder(captured, config, batch, grid, through)


FAMILY = register(
  Family(
    name='vjepa2',
    title='V-JEPA 2',
    options=Options,
    sizes=weights.SIZES,
    default_size='L',
    build=_build,
    grid=_grid,
    layers=layer_rules.of_one_encoder,
    data=weights.DATA,
    supports=BUILD_KEYS,
    check=_check,
    check_clip=_check_clip,
    pools=('attention', 'mean'),
    pool_sizes=_pool_sizes,
    attention_pool=weights.POOL,
    imports=(files.READ,),
    resize=weights.RESIZE,
    explain_unused=weights.explain_unused,
    reported_options=('gelu', 'norm_epsilon', 'features_of'),
    infer_sizes=image_vit.infer_sizes,
    describe=image_vit.describe,
    exports={'huggingface': files.write},
    attention_flow=_attention_flow,
    cam=r'Transformer/encoderblock_\d+/LayerNorm_0',
    clip=(64, 256),
    published=(
      Published('V-JEPA 2-L', 'L', frames=16),
      Published('V-JEPA 2-L', 'L'),
      Published('V-JEPA 2-H', 'H'),
      Published('V-JEPA 2-g', 'g'),
      Published('V-JEPA 2-g', 'g', crop=384),
    ),
  )
)

"""VideoPrism as a family (arXiv 2402.13217).

Follows google-deepmind/videoprism at commit d481d91.
"""

import dataclasses

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import (
  blocks,
  image_vit,
  layer_rules,
  per_frame,
  resize,
  sizes,
)
from vivit_jax.models.attention import WITHOUT_CAP
from vivit_jax.models.family import (
  BUILD_KEYS,
  AttentionPool,
  Family,
  Layers,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.videoprism import files, network, weights


@dataclasses.dataclass(frozen=True)
class Options:
  """Config keys of VideoPrism."""

  patch: int = typed.limited(18, at_least=1)  # height and width, in pixels
  # Grid (t, h, w) of the position tables, which are resized to that of a clip.
  # None, here and below: as in model.size.
  table: tuple[int, int, int] | None = typed.limited(None, at_least=1)
  spatial_layers: int | None = typed.limited(None, at_least=1)
  temporal_layers: int = typed.limited(4, at_least=1)
  # Blocks among all tokens after the encoder; 2 in the video-text models.
  auxiliary_layers: int = typed.limited(0, at_least=0)
  width: int | None = typed.limited(None, at_least=1)
  attention_heads: int | None = typed.limited(None, at_least=1)
  mlp_width: int | None = typed.limited(None, at_least=1)
  # Attention scores s become cap * tanh(s / cap); None: they stay.
  cap: float | None = typed.limited(weights.CAP, above=0)


def _build(config: ModelConfig, class_token: bool) -> network.VideoPrism:
  size, options = sizes.of(config), config.options
  return network.VideoPrism(
    width=size.width,
    depth=size.layers,
    options=blocks.options_of(
      config,
      attention_heads=size.attention_heads,
      mlp=size.mlp,
      gelu='exact',
      linear_init='lecun',
      cap=options.cap,
    ),
    tubelet=(1, options.patch, options.patch),
    kernel_init='random',
    class_token=class_token,
    temporal_layers=options.temporal_layers,
    auxiliary_layers=options.auxiliary_layers,
    table=options.table or weights.TABLES[config.size],
  )


def _check(config: ModelConfig) -> None:
  sizes.check_heads(config)
  if config.options.cap is not None and config.attention in WITHOUT_CAP:
    raise UserError(
      f"model.attention is '{config.attention}', which cannot cap scores "
      "(model.options.cap): set it to 'auto', 'plain' or 'chunked'."
    )


def _layers(config: ModelConfig) -> Layers:
  two = layer_rules.of_two_encoders(config)
  more = config.options.auxiliary_layers
  rules = layer_rules.of_encoder('AuxiliaryTransformer', two.blocks, more)
  return Layers(two.blocks + more, [*two.rules, *rules])


FAMILY = register(
  Family(
    name='videoprism',
    title='VideoPrism',
    options=Options,
    sizes=weights.SIZES,
    default_size='B',
    build=_build,
    grid=sizes.patch_grid,
    layers=_layers,
    data=weights.DATA,
    supports=BUILD_KEYS,
    check=_check,
    check_clip=sizes.check_patches,
    pools=('attention', 'mean'),
    pool_sizes=sizes.of_pool,
    attention_pool=AttentionPool(form='videoprism'),
    imports=files.IMPORTS,
    resize=(('embedding/kernel', resize.tubelet_kernel),),
    explain_missing=weights.explain_missing,
    explain_unused=weights.explain_unused,
    reported_options=('cap',),
    infer_sizes=weights.infer_sizes,
    describe=image_vit.describe,
    exports={'videoprism': files.write},
    attention_flow=network.attention_flow,
    cam=per_frame.CAM,
    clip=(16, 288),
    published=(
      Published('VideoPrism-B', 'B'),
      Published('VideoPrism-L', 'L', frames=8),
      Published('VideoPrism-g', 'g', frames=8),
    ),
  )
)

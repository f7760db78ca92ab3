"""TimeSformer as a family (Bertasius et al., arXiv 2102.05095).

Follows facebookresearch/TimeSformer at commit a5ef29a.
"""

import dataclasses
from typing import Literal

from vivit_jax import typed
from vivit_jax.models import blocks, image_vit, layer_rules, sizes
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.timesformer import (
  huggingface,
  official,
  rollout,
  weights,
)
from vivit_jax.models.timesformer.network import TimeSformer
from vivit_jax.models.weights import IMAGE_VIT


@dataclasses.dataclass(frozen=True)
class Options(sizes.Options):
  """Config keys of TimeSformer."""

  # 'divided': over time, then over space; 'joint': among all tokens; 'space':
  # within frames, which are averaged.
  attention: Literal['divided', 'joint', 'space'] = 'divided'
  patch: int = typed.limited(16, at_least=1)  # height and width, in pixels
  # None: as in model.size.
  layers: int | None = typed.limited(None, at_least=1)
  # Draws of stochastic depth: one for each clip and branch, or as the paper's
  # code: one for each place (time), frame (space) and clip (MLP).
  depth_draws: Literal['clip', 'paper'] = 'clip'


def _build(config: ModelConfig, class_token: bool) -> TimeSformer:
  size, options = sizes.of(config), config.options
  return TimeSformer(
    width=size.width,
    depth=size.layers,
    options=blocks.vit_options(config),
    attention=options.attention,
    patch=options.patch,
    depth_draws=options.depth_draws,
    class_token=class_token,
  )


_JOINT, _SPACE = {'attention': 'joint'}, {'attention': 'space'}

TIMESFORMER = register(
  Family(
    name='timesformer',
    title='TimeSformer',
    options=Options,
    sizes=sizes.SIZES,
    default_size='B',
    build=_build,
    grid=sizes.patch_grid,
    layers=layer_rules.of_one_encoder,
    data=weights.DATA,
    supports=BUILD_KEYS,
    check=sizes.check_heads,
    check_clip=sizes.check_patches,
    pools=('token', 'mean', 'attention'),
    pool_sizes=sizes.of_pool,
    imports=(official.READ, huggingface.READ, *image_vit.IMPORTS),
    initialises_from={IMAGE_VIT: weights.from_image},
    resize=weights.RESIZE,
    explain_missing=weights.explain_missing,
    explain_unused=weights.explain_unused,
    fixed_options=('attention',),
    reported_options=('gelu', 'norm_epsilon'),
    infer_sizes=image_vit.infer_sizes,
    describe=weights.describe,
    exports={'huggingface': huggingface.write},
    attention_flow=rollout.flow,
    cam=r'Transformer/encoderblock_\d+/LayerNorm_0',
    cam_map=rollout.on_grid,
    clip=(8, 224),
    published=(
      Published('TimeSformer', 'B', parameters=121.4),
      Published('TimeSformer-HR', 'B', frames=16, crop=448),
      Published('TimeSformer-L', 'B', frames=96),
      Published('TimeSformer-L of SSv2', 'B', frames=64),
      Published('TimeSformer, joint', 'B', _JOINT),
      Published('TimeSformer, space only', 'B', _SPACE),
    ),
  )
)

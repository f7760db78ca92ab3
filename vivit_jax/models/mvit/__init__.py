"""MViT and MViT v2 as a family (arXiv 2104.11227, 2112.01526).

Follows facebookresearch/SlowFast at commit 287ec00.
"""

import dataclasses
import math
from typing import Literal

import jax

from vivit_jax import typed
from vivit_jax.models import blocks, classifier
from vivit_jax.models.builder import pool_of
from vivit_jax.models.family import (
  Family,
  Grid,
  Layers,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.mvit import files, layout, network, weights


@dataclasses.dataclass(frozen=True)
class Options:
  """Config keys of MViT."""

  # 2: relative positions, queries pooled in every block and added to the
  # result; 1: absolute positions.
  version: Literal[1, 2] = 2
  # None, here and below: as in model.size.
  layers: int | None = typed.limited(None, at_least=1)
  # Of the first stage; both double in each following one.
  width: int | None = typed.limited(None, at_least=1)
  attention_heads: int | None = typed.limited(None, at_least=1)
  # Numbers, from 0, of the blocks at which a stage begins, besides the first.
  stages: tuple[int, ...] | None = None
  # Pooling: 'cube': 3 x 3 x 3; 'cube_strided': the same, but none where the
  # stride is 1; 'stride': stride + 1 in height and width, none where it is 1.
  kernels: Literal['cube', 'cube_strided', 'stride'] | None = None
  # Of the norms after pooling. pytorchvideo, and SlowFast before June 2022:
  # 1e-5.
  norm_pool_epsilon: float = typed.limited(1e-6, above=0)
  # Initial bias of linear layers and norms; pytorchvideo, torchvision: 0.
  bias_init: float = 0.02


def _build(config: ModelConfig, class_token: bool) -> network.MViT:
  common = blocks.options_of(config, attention_heads=0, mlp=0, gelu='exact')
  common = {
    field.name: getattr(common, field.name)
    for field in dataclasses.fields(common)
  }
  options = network.Options(
    **common,
    version=config.options.version,
    class_tokens=int(class_token),
    pool_epsilon=config.options.norm_pool_epsilon,
    bias_init=config.options.bias_init,
  )
  return network.MViT(layout.of(config), options)


def _on_grid(
  products_BxN: jax.Array, config: ModelConfig, batch: int, grid: Grid
) -> jax.Array:
  """Returns [B, t, h, w], on the grid of the block's input; `cam_map`."""
  count = products_BxN.shape[-1] - (pool_of(config) == 'token')
  while math.prod(grid) > count:
    grid = layout.after(grid, layout.HALF)
  return products_BxN[:, -count:].reshape(batch, *grid)


def _layers(config: ModelConfig) -> Layers:
  depth = layout.of(config).layers
  rules = [
    ('embedding/|cls$|Transformer/posembed_input/', 0),
    (r'Transformer/encoderblock_(\d+)/', lambda block: block + 1),
    ('Transformer/encoder_norm/', depth + 1),
  ]
  return Layers(depth, rules)


_V1 = {'version': 1}

MVIT = register(
  Family(
    name='mvit',
    title='MViT',
    options=Options,
    sizes=layout.SIZES,
    default_size='B',
    build=_build,
    grid=layout.grid,
    layers=_layers,
    data=files.PIXELS,
    supports=('stochastic_depth', 'depth_rates', 'remat', 'attention', 'dtype'),
    check=layout.check,
    pools=('token', 'mean'),
    imports=files.IMPORTS,
    initialises_from={weights.IMAGE_MVIT: classifier.without_own},
    resize=weights.RESIZE,
    explain_missing=weights.explain_missing,
    explain_unused=weights.explain_unused,
    fixed_options=('version',),
    reported_options=('norm_pool_epsilon',),
    infer_sizes=weights.infer_sizes,
    describe=weights.describe,
    exports={'torchvision': files.write},
    has_stages=True,
    cam=r'Transformer/encoderblock_\d+/LayerNorm_0',
    cam_map=_on_grid,
    clip=(32, 224),
    published=(
      Published('MViT-B 16x4', 'B', _V1, 16, parameters=36.6),
      Published(
        "MViT-B 16x4, SlowFast's file",
        'B',
        _V1 | {'kernels': 'cube_strided'},
        16,
      ),
      Published('MViT-B 32x3', 'B', _V1, parameters=36.6),
      Published('MViT-B 32x3 of SlowFast', 'B24', _V1),
      Published('MViTv2-S 16x4', 'S', frames=16, parameters=34.5),
      Published('MViTv2-B 32x3', 'B', parameters=51.2),
      Published('MViTv2-L 40x3', 'L', {}, 40, 312, parameters=217.6),
    ),
  )
)

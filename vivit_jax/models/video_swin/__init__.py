"""Video Swin as a family (Liu et al., arXiv 2106.13230).

Follows SwinTransformer/Video-Swin-Transformer at commit db018fb.
"""

import dataclasses
from typing import Any

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import blocks, classifier
from vivit_jax.models.family import (
  Family,
  Grid,
  Layers,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.video_swin import files, weights
from vivit_jax.models.video_swin.network import VideoSwin


@dataclasses.dataclass(frozen=True)
class Options:
  """Config keys of Video Swin."""

  # Size of a window: frames, height and width, in tokens.
  window: tuple[int, int, int] = typed.limited((8, 7, 7), at_least=1)
  # Frames, height and width of a tubelet, in pixels.
  tubelet: tuple[int, int, int] = typed.limited((2, 4, 4), at_least=1)
  # None, here and below: as in model.size. Width of the first stage.
  width: int | None = typed.limited(None, at_least=1)
  depths: tuple[int, ...] | None = typed.limited(None, at_least=1)
  attention_heads: tuple[int, ...] | None = typed.limited(None, at_least=1)
  mlp_ratio: int = typed.limited(4, at_least=1)
  norm_epsilon: float = typed.limited(1e-5, above=0)


def _sizes(config: ModelConfig) -> weights.Size:
  """Returns the sizes of model.size, replaced by those that options set."""
  options, size = config.options, weights.SIZES[config.size]
  own = {key: getattr(options, key) for key in vars(size)}
  return dataclasses.replace(
    size, **{key: value for key, value in own.items() if value is not None}
  )


def _check(config: ModelConfig) -> None:
  """Raises a UserError for sizes that contradict each other."""
  if config.attention not in ('auto', 'plain', 'chunked'):
    raise UserError(
      f"model.attention is '{config.attention}', which has no bias of "
      "positions: Video Swin takes 'auto', 'plain' or 'chunked'."
    )
  size = _sizes(config)
  if len(size.depths) != len(size.attention_heads) or not size.depths:
    raise UserError(
      f'model.options.depths has {len(size.depths)} stages, attention_heads '
      f'{len(size.attention_heads)}: set one number for each stage in both.'
    )
  for stage, heads in enumerate(size.attention_heads):
    if (size.width << stage) % heads:
      raise UserError(
        f'model.options.attention_heads is {heads} in stage {stage}, which '
        f'does not divide its width of {size.width << stage}.'
      )


def _build(config: ModelConfig, class_token: bool) -> VideoSwin:
  del class_token  # no pool reads it
  size, options = _sizes(config), config.options
  return VideoSwin(
    width=size.width,
    depths=size.depths,
    attention_heads=size.attention_heads,
    options=blocks.options_of(
      config,
      attention_heads=0,
      mlp=0,
      gelu='exact',
      epsilon=options.norm_epsilon,
      linear_init='normal',
    ),
    tubelet=options.tubelet,
    window=options.window,
    mlp_ratio=options.mlp_ratio,
  )


def _layers(config: ModelConfig) -> Layers:
  """Returns the layers of all blocks; merging belongs to the block before."""
  depths = _sizes(config).depths
  rules = [('embedding/|embedding_norm/', 0)]
  for stage, depth in enumerate(depths):
    first = sum(depths[:stage])
    rules += [
      (
        rf'stage{stage}/encoderblock_(\d+)/',
        lambda block, first=first: first + block + 1,
      ),
      (f'merging{stage}/', first + depth),
    ]
  return Layers(sum(depths), [*rules, ('encoder_norm/', sum(depths) + 1)])


def grid(options: Options, frames: int, crop: tuple[int, int]) -> Grid:
  """Returns the grid (t, h, w) of the last stage's tokens; `Family.grid`."""
  depths = options.depths
  stages = len(weights.SIZES['T'].depths if depths is None else depths)
  sides = zip((frames, *crop), options.tubelet, (0, stages - 1, stages - 1))
  t, h, w = (-(-side // (patch << halved)) for side, patch, halved in sides)
  return t, h, w


def _pool_sizes(config: ModelConfig) -> tuple[int, int]:
  size = _sizes(config)
  width = size.width << (len(size.depths) - 1)
  return size.attention_heads[-1], config.options.mlp_ratio * width


_SSV2: dict[str, Any] = {'window': (16, 7, 7)}

FAMILY = register(
  Family(
    name='video_swin',
    title='Video Swin',
    options=Options,
    sizes=weights.SIZES,
    build=_build,
    grid=grid,
    layers=_layers,
    data=weights.DATA,
    supports=(
      'stochastic_depth',
      'depth_rates',
      'remat',
      'attention',
      'dtype',
    ),
    check=_check,
    pools=('mean', 'attention'),
    pool_sizes=_pool_sizes,
    imports=files.IMPORTS,
    initialises_from={weights.IMAGE_SWIN: classifier.without_own},
    resize=weights.RESIZE,
    reported_options=('norm_epsilon',),
    has_stages=True,
    infer_sizes=weights.infer_sizes,
    describe=weights.describe,
    exports={'torchvision': files.write},
    cam=r'stage\d+/encoderblock_\d+/LayerNorm_0',
    clip=(32, 224),
    published=(
      Published('Video Swin-T', 'T', parameters=28.2),
      Published('Video Swin-S', 'S', parameters=49.8),
      Published('Video Swin-B', 'B', parameters=88.1),
      Published('Video Swin-B of SSv2', 'B', _SSV2, parameters=88.8),
      Published('Video Swin-L', 'L'),
    ),
  )
)

"""ViViT's Models 1 to 4 as families (arXiv 2103.15691, section 3.3)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import blocks, image_vit, layer_rules, sizes
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.vivit import backbones, huggingface, rollout, weights
from vivit_jax.models.vivit import factorised_dot_product as fdp
from vivit_jax.models.vivit import factorised_self_attention as fsa
from vivit_jax.models.weights import IMAGE_VIT


@dataclasses.dataclass(frozen=True)
class Options(sizes.Options):
  """Config keys of all four models."""

  # Frames, height and width, in pixels.
  tubelet: tuple[int, int, int] = typed.limited((2, 16, 16), at_least=1)
  # 'uniform_frames': patches of the middle frame of each tubelet.
  embedding: Literal['tubelet', 'uniform_frames'] = 'tubelet'
  tubelet_init: Literal['central_frame', 'random'] = 'central_frame'
  positions: Literal['learned', 'sinusoidal_1d', 'sinusoidal_3d', 'none'] = (
    'learned'
  )
  gelu: Literal['tanh', 'exact'] = 'tanh'


@dataclasses.dataclass(frozen=True)
class JointOptions(Options):
  """Config keys of Model 1."""

  layers: int | None = typed.limited(None, at_least=1)


@dataclasses.dataclass(frozen=True)
class FactorisedEncoderOptions(Options):
  """Config keys of Model 2."""

  spatial_layers: int | None = typed.limited(None, at_least=1)
  temporal_layers: int = typed.limited(4, at_least=0)  # 0: mean over time


@dataclasses.dataclass(frozen=True)
class FactorisedDotProductOptions(JointOptions):
  """Config keys of Model 4."""

  # Axes along which the first and the second half of the heads attend; the
  # reference's weights need 'time_space'.
  order: Literal['space_time', 'time_space'] = 'space_time'


@dataclasses.dataclass(frozen=True)
class FactorisedSelfAttentionOptions(JointOptions):
  """Config keys of Model 3."""

  # Order of a block's two attentions; the reference's weights need
  # 'time_space'.
  order: Literal['space_time', 'time_space'] = 'space_time'
  temporal_init: Literal['zero_output', 'zero_all', 'random'] = 'zero_output'


def _builder(
  module: type[nn.Module], *own: str
) -> Callable[[ModelConfig, bool], nn.Module]:
  """Returns `Family.build` for a backbone class; `own`: its own options."""

  def build(config: ModelConfig, class_token: bool) -> nn.Module:
    size, options = sizes.of(config), config.options
    return module(
      width=size.width,
      depth=size.layers,
      options=blocks.vit_options(config, linear_init='xavier'),
      tubelet=options.tubelet,
      embedding=options.embedding,
      kernel_init=options.tubelet_init,
      positions=options.positions,
      class_token=class_token,
      **{name: getattr(options, name) for name in own},
    )

  return build


def _check_halves(config: ModelConfig) -> None:
  sizes.check_heads(config)
  heads = sizes.of(config).attention_heads
  if heads % 2:
    raise UserError(
      f'{config.family} needs an even number of attention heads, not {heads}: '
      'set model.size or model.options.attention_heads.'
    )


def _frames_seen(options: Options, frames: int) -> int:
  period = options.tubelet[0] if options.embedding == 'uniform_frames' else 1
  return frames // period


_family = functools.partial(
  Family,
  sizes=sizes.SIZES,
  grid=sizes.tubelet_grid,
  pools=('token', 'mean', 'attention'),
  pool_sizes=sizes.of_pool,
  default_size='B',
  supports=BUILD_KEYS,
  check=sizes.check_heads,
  check_clip=sizes.check_tubelets,
  frames_used=_frames_seen,
  resize=weights.RESIZE,
  fixed_options=('order',),
  reported_options=('gelu', 'norm_epsilon', 'positions'),
  explain_missing=weights.explain_missing,
  explain_unused=weights.explain_unused,
  infer_sizes=image_vit.infer_sizes,
  describe=image_vit.describe,
  cam=r'(Spatial)?Transformer/encoderblock_\d+/LayerNorm_(0|space)',
)


def _initialises(rules: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
  return {IMAGE_VIT: weights.renaming(rules)}


_IMPORTS = (*image_vit.IMPORTS, weights.SCENIC)
_SCENIC = {'scenic': weights.write_scenic}
# A ViT of each frame, whose logits are averaged.
_PER_FRAME = {'temporal_layers': 0, 'tubelet': (1, 16, 16), 'gelu': 'exact'}
# A class token would have no axis of the grid to attend along.
_WITHOUT_TOKEN = ('mean', 'attention')

JOINT = register(
  _family(
    name='joint',
    title='1 joint',
    options=JointOptions,
    build=_builder(backbones.Joint),
    layers=layer_rules.of_one_encoder,
    imports=(*_IMPORTS, huggingface.READ),
    initialises_from=_initialises(),
    exports=_SCENIC | {'huggingface': huggingface.write},
    attention_flow=rollout.joint,
    published=(
      Published('1 joint', 'B', parameters=88.9, gflops=455.2),
      Published('1 joint', 'L', gflops=1446.0),
    ),
  )
)
FACTORISED_ENCODER = register(
  _family(
    name='factorised_encoder',
    title='2 factorised encoder',
    options=FactorisedEncoderOptions,
    build=_builder(backbones.FactorisedEncoder, 'temporal_layers'),
    layers=layer_rules.of_two_encoders,
    imports=_IMPORTS,
    initialises_from=_initialises(weights.TO_FACTORISED_ENCODER),
    exports=_SCENIC,
    attention_flow=rollout.factorised_encoder,
    published=(
      Published('2 factorised encoder', 'B', parameters=115.1, gflops=284.4),
      Published(
        '2 average-pooled',
        'B',
        {'temporal_layers': 0},
        parameters=86.7,
        gflops=283.9,
      ),
      Published('ViT per frame', 'B', _PER_FRAME, frames=8),
      Published('ViT per frame', 'L', _PER_FRAME, frames=8),
      Published(
        '2 factorised encoder, 24 temporal layers',
        'L',
        {'temporal_layers': 24},
        gflops=995.3,
      ),
    ),
  )
)
FACTORISED_SELF_ATTENTION = register(
  _family(
    name='factorised_self_attention',
    title='3 factorised self-attention',
    options=FactorisedSelfAttentionOptions,
    build=_builder(fsa.FactorisedSelfAttention, 'order', 'temporal_init'),
    layers=layer_rules.of_one_encoder,
    pools=_WITHOUT_TOKEN,
    imports=_IMPORTS,
    initialises_from=_initialises(weights.TO_FACTORISED_SELF_ATTENTION),
    exports=_SCENIC,
    attention_flow=rollout.factorised_self_attention,
    published=(
      Published(
        '3 factorised self-attention', 'B', parameters=117.3, gflops=372.3
      ),
    ),
  )
)
FACTORISED_DOT_PRODUCT = register(
  _family(
    name='factorised_dot_product',
    title='4 factorised dot-product',
    options=FactorisedDotProductOptions,
    build=_builder(fdp.FactorisedDotProduct, 'order'),
    layers=layer_rules.of_one_encoder,
    pools=_WITHOUT_TOKEN,
    check=_check_halves,
    imports=_IMPORTS,
    initialises_from=_initialises(),
    exports=_SCENIC,
    attention_flow=rollout.factorised_dot_product,
    published=(
      Published('4 factorised dot-product', 'B', parameters=88.9, gflops=277.1),
    ),
  )
)

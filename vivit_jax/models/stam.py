"""STAM as a family (Sharir et al., arXiv 2103.13915).

A ViT encodes each frame; a post-norm transformer encodes their class tokens.
Follows Alibaba-MIIL/STAM at commit 6749baf.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax

from vivit_jax import typed
from vivit_jax.models import (
  blocks,
  embeddings,
  image_vit,
  layer_rules,
  per_frame,
  post_norm,
  sizes,
  torch_names,
)
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  Import,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.pools import Encoded
from vivit_jax.models.vivit import backbones, rollout
from vivit_jax.models.weights import IMAGE_VIT, File, Weights

_EPSILON = 1e-5  # torch's default
# Xavier-uniform of query, key and value in one matrix [D, 3 D], as in torch.
_XAVIER_OF_THREE = nn.initializers.variance_scaling(0.5, 'fan_avg', 'uniform')


@dataclasses.dataclass(frozen=True)
class Options(per_frame.Options):
  """Config keys of STAM."""

  norm_epsilon: float = typed.limited(_EPSILON, above=0)  # of the ViT
  temporal_layers: int = typed.limited(6, at_least=1)
  temporal_heads: int | None = typed.limited(8, at_least=1)
  temporal_mlp: int | None = typed.limited(2048, at_least=1)


class _Block(post_norm.PostNormBlock):
  """A layer of torch's `TransformerEncoder`, as its defaults have it."""

  activation: Any = nn.relu
  drops_hidden: bool = True

  def attend(self, x_BxNxD, dropout) -> jax.Array:
    more = {}
    if dropout is not None:
      more['attention_fn'] = functools.partial(
        post_norm.attention, dropout=dropout
      )
    return blocks.attention(
      self.options,
      'MultiHeadDotProductAttention_0',
      kernel_init=_XAVIER_OF_THREE,
      out_kernel_init=post_norm.NORMAL,
      **more,
    )(x_BxNxD, x_BxNxD)


class STAM(backbones.SpatialFirst):
  """A ViT per frame, then a temporal encoder with learned positions.

  Initial values differ from the official code's: its six temporal layers start
  as copies of one; here, each layer is drawn by itself.

  Attributes:
    temporal_layers: number of temporal blocks.
    temporal: settings of the temporal blocks.
    dropout: rate in the temporal encoder.
  """

  temporal_layers: int = 6
  temporal: blocks.Options | None = None
  dropout: float = 0.1

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    grid = x_BxtxhxwxD.shape[1], 1, 1
    tokens, x = self.encode_in_space(x_BxtxhxwxD, mode)
    shape = 1, 1, self.width
    cls = self.param('cls_TemporalTransformer', post_norm.NORMAL, shape)
    x = post_norm.Encoder(
      self.temporal_layers,
      self.temporal,
      grid,
      block=_Block,
      first=1,
      dropout=self.dropout,
      name='TemporalTransformer',
    )(embeddings.prepend_class_token(x, cls), mode)
    x, summary = blocks.tokens_and_summary(x)
    return Encoded(tokens, summary, x)


def _build(config: ModelConfig, class_token: bool) -> STAM:
  del class_token  # the only pool reads it
  return STAM(**per_frame.settings(config, _EPSILON))


_LAYER = 'aggregate.transformer_enc.layers.#'
_BLOCK = 'TemporalTransformer/encoderblock_#'
_ATTENTION = f'{_BLOCK}/MultiHeadDotProductAttention_0'
_TABLE = torch_names.rows(
  [
    (f'{_LAYER}.self_attn.query', f'{_ATTENTION}/query', 'split'),
    (f'{_LAYER}.self_attn.key', f'{_ATTENTION}/key', 'split'),
    (f'{_LAYER}.self_attn.value', f'{_ATTENTION}/value', 'split'),
    (f'{_LAYER}.self_attn.out_proj', f'{_ATTENTION}/out', 'merge'),
    (f'{_LAYER}.linear1', f'{_BLOCK}/Dense_0', 'dense'),
    (f'{_LAYER}.linear2', f'{_BLOCK}/Dense_1', 'dense'),
    (f'{_LAYER}.norm1', f'{_BLOCK}/LayerNorm_0', 'norm'),
    (f'{_LAYER}.norm2', f'{_BLOCK}/LayerNorm_1', 'norm'),
    (
      'aggregate.transformer_enc.norm',
      'TemporalTransformer/encoder_norm',
      'norm',
    ),
    ('head', 'output_projection', 'dense'),
  ],
  [
    ('aggregate.cls_token', 'cls_TemporalTransformer'),
    (
      'aggregate.pos_embed',
      f'TemporalTransformer/{image_vit.POSITIONS}',
    ),
  ],
)
# Of the released models: pixels in [0, 1], and the whole video.
_DATA = {
  'frames': 16,
  'sampling': 'whole',
  'mean': (0.0, 0.0, 0.0),
  'std': (1.0, 1.0, 1.0),
}


def _read(file: File) -> Weights:
  """Reads the official weights; `Import.read`."""
  weights, experiment = per_frame.read(
    file,
    'STAM',
    Options(),
    r'(?!aggregate\.|head\.)',
    _TABLE,
    {r'self_attn\.in_proj_': 'self_attn.qkv.'},
  )
  positions = weights.arrays[f'TemporalTransformer/{image_vit.POSITIONS}']
  data = experiment['data']
  data |= _DATA | {'frames': positions.shape[1] - 1}
  return per_frame.with_experiment(weights, experiment)


FAMILY = register(
  Family(
    name='stam',
    title='STAM',
    options=Options,
    sizes=sizes.SIZES,
    default_size='B',
    build=_build,
    grid=sizes.patch_grid,
    layers=layer_rules.of_two_encoders,
    data=_DATA,
    supports=BUILD_KEYS,
    check=per_frame.check,
    check_clip=sizes.check_patches,
    pools=('token',),
    imports=(
      Import(
        lambda file: (
          {'aggregate.pos_embed', 'patch_embed.proj.weight'} <= {*file.names}
        ),
        _read,
      ),
      *image_vit.IMPORTS,
    ),
    initialises_from={IMAGE_VIT: per_frame.from_image},
    resize=per_frame.RESIZE,
    explain_missing=per_frame.explain_missing,
    explain_unused=per_frame.explain_unused,
    reported_options=('gelu', 'norm_epsilon'),
    infer_sizes=per_frame.infer_sizes,
    describe=per_frame.describe,
    attention_flow=rollout.factorised_encoder,
    cam=per_frame.CAM,
    clip=(16, 224),
    published=tuple(
      Published(f'STAM-{frames}', 'B', frames=frames)
      for frames in (8, 16, 32, 64)
    ),
  )
)

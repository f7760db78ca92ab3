"""VTN as a family (Neimark et al., arXiv 2102.00719).

A ViT encodes each frame; a Longformer (Beltagy et al., arXiv 2004.05150)
encodes their class tokens, of clips of any length. Follows bomri/SlowFast at
commit 00a6820 and transformers' Longformer, without padding.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import (
  blocks,
  embeddings,
  image_vit,
  layer_rules,
  longformer,
  per_frame,
  sizes,
  torch_names,
)
from vivit_jax.models.blocks import Mode
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  Grid,
  Import,
  Layers,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.pools import Encoded
from vivit_jax.models.rollout import (
  Rollout,
  blocks_of,
  pair,
  read_out,
  with_residual,
)
from vivit_jax.models.vivit import backbones
from vivit_jax.models.vivit import rollout as vivit_rollout
from vivit_jax.models.weights import IMAGE_VIT, File, Weights

_EPSILON = 1e-12  # of the Longformer's norms
_HEAD_EPSILON = 1e-5
# torch's default for linear layers: uniform, up to 1 / sqrt(fan in).
_HEAD_INIT = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


@dataclasses.dataclass(frozen=True)
class Options(per_frame.Options):
  """Config keys of VTN."""

  # Places that a frame sees besides the class token: half before, half after.
  window: int = typed.limited(18, at_least=2)
  # Number of learned positions. A frame's position is its number modulo this.
  frame_positions: int = typed.limited(286, at_least=1)
  # Frame numbers count from the start of the video, or of the clip.
  numbers_from: Literal['video', 'clip'] = 'video'
  # Width of the MLP before the head; None: the model's.
  head_mlp: int | None = typed.limited(None, at_least=1)
  head_dropout: float = typed.limited(0.5, at_least=0, below=1)

  def __post_init__(self):
    if self.window % 2:
      raise UserError(
        f'model.options.window is {self.window}; it must be even: half of it '
        'lies before a frame, half after it.'
      )


class _HeadMLP(nn.Module):
  """Norm, dense, GELU and dropout, before the linear head."""

  width: int
  rate: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BxD: jax.Array, mode: Mode) -> jax.Array:
    x = nn.LayerNorm(_HEAD_EPSILON, dtype=self.dtype)(x_BxD)
    x = nn.Dense(self.width, kernel_init=_HEAD_INIT, dtype=self.dtype)(x)
    x = blocks.gelu(x, 'exact')
    if mode.train and self.rate and '/'.join(self.path) not in mode.frozen:
      key = self.make_rng('dropout')
      x = blocks.dropout(x, self.rate, key, mode.example_B)
    return x


class VTN(backbones.SpatialFirst):
  """A ViT per frame, then a Longformer and an MLP.

  Attributes:
    temporal_layers: number of temporal blocks.
    temporal: settings of the temporal blocks.
    dropout: rate in the temporal encoder.
    window, frame_positions, numbers_from, head_mlp, head_dropout: see
      `Options`.
  """

  temporal_layers: int = 3
  temporal: blocks.Options | None = None
  dropout: float = 0.1
  window: int = 18
  frame_positions: int = 286
  numbers_from: str = 'video'
  head_mlp: int | None = None
  head_dropout: float = 0.5

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    batch, frames = x_BxtxhxwxD.shape[:2]
    tokens, x = self.encode_in_space(x_BxtxhxwxD, mode)
    numbers = mode.frame_BxT
    if numbers is None:
      numbers = jnp.broadcast_to(jnp.arange(frames), (batch, frames))
    if self.numbers_from == 'clip':
      numbers = numbers - numbers[:, :1]
    init, shape = nn.initializers.normal(1.0), (1, 1, self.width)
    cls = self.param('cls_TemporalTransformer', init, shape)
    x = longformer.Longformer(
      self.temporal_layers,
      self.temporal,
      (frames, 1, 1),
      block=functools.partial(longformer.Block, window=self.window),
      first=1,
      dropout=self.dropout,
      frame_positions=self.frame_positions,
      name='TemporalTransformer',
    )(embeddings.prepend_class_token(x, cls), numbers, mode)
    x, summary = blocks.tokens_and_summary(x)
    width = self.head_mlp or self.width
    summary = _HeadMLP(
      width, self.head_dropout, self.options.dtype, name='mlp_head'
    )(summary, mode)
    return Encoded(tokens, summary, x)


def _build(config: ModelConfig, class_token: bool) -> VTN:
  del class_token  # the only pool reads it
  keys = 'window', 'frame_positions', 'numbers_from', 'head_mlp', 'head_dropout'
  own = {key: getattr(config.options, key) for key in keys}
  return VTN(**per_frame.settings(config, _EPSILON), **own)


def _layers(config: ModelConfig) -> Layers:
  layers = layer_rules.of_two_encoders(config)
  return Layers(
    layers.blocks, [*layers.rules, ('mlp_head/', layers.blocks + 1)]
  )


_THEIRS = 'temporal_encoder.encoder.layer.#'
_BLOCK = 'TemporalTransformer/encoderblock_#'
_ATTENTION = f'{_THEIRS}.attention'
_EMBEDDINGS = 'temporal_encoder.embeddings'
_TABLE = torch_names.rows(
  [
    *(
      (f'{_ATTENTION}.self.{part}{ending}', f'{ours}/{part}', 'split')
      for ending, ours in (
        ('', f'{_BLOCK}/attention/window'),
        ('_global', f'{_BLOCK}/attention/global'),
      )
      for part in ('query', 'key', 'value')
    ),
    (f'{_ATTENTION}.output.dense', f'{_BLOCK}/attention/out', 'merge'),
    (f'{_ATTENTION}.output.LayerNorm', f'{_BLOCK}/LayerNorm_0', 'norm'),
    (f'{_THEIRS}.intermediate.dense', f'{_BLOCK}/Dense_0', 'dense'),
    (f'{_THEIRS}.output.dense', f'{_BLOCK}/Dense_1', 'dense'),
    (f'{_THEIRS}.output.LayerNorm', f'{_BLOCK}/LayerNorm_1', 'norm'),
    (
      f'{_EMBEDDINGS}.LayerNorm',
      'TemporalTransformer/posembed_input/LayerNorm_0',
      'norm',
    ),
    ('mlp_head.norm', 'mlp_head/LayerNorm_0', 'norm'),
    ('mlp_head.dense', 'mlp_head/Dense_0', 'dense'),
    ('mlp_head.head', 'output_projection', 'dense'),
  ],
  [
    ('cls_token', 'cls_TemporalTransformer'),
    (
      f'{_EMBEDDINGS}.position_embeddings.weight',
      'TemporalTransformer/posembed_input/frame_embedding',
    ),
    (
      f'{_EMBEDDINGS}.token_type_embeddings.weight',
      'TemporalTransformer/posembed_input/type_embedding',
    ),
  ],
)
_PIXELS = {'mean': (0.45, 0.45, 0.45), 'std': (0.225, 0.225, 0.225)}


def _read(file: File) -> Weights:
  """Reads the official weights; `Import.read`.

  Clips are those of the official test: 250 frames of the whole video.
  """
  weights, experiment = per_frame.read(
    file,
    'VTN',
    Options(),
    r'backbone\.',
    _TABLE,
    {
      r'^mlp_head\.0\.': 'mlp_head.norm.',
      r'^mlp_head\.1\.': 'mlp_head.dense.',
      r'^mlp_head\.4\.': 'mlp_head.head.',
    },
  )
  table = weights.arrays['TemporalTransformer/posembed_input/frame_embedding']
  options, data = experiment['model']['options'], experiment['data']
  options['frame_positions'] = len(table) - 2
  options['head_mlp'] = weights.arrays['mlp_head/Dense_0/kernel'].shape[1]
  if window := torch_names.stated(file, 'window'):
    options['window'] = weights.options['window'] = window
  data |= _PIXELS | {'frames': 250, 'sampling': 'whole'}
  note = (
    'the file states no clips: they are 250 frames of the whole video in one '
    'view, as in the official test; others by --frames, --sampling and --views'
  )
  return per_frame.with_experiment(weights, experiment, [note])


def _rollout(
  captured: Any, config: ModelConfig, batch: int, grid: Grid
) -> Rollout:
  """Returns the rollout: temporal shares times the ViT's within each frame."""
  places = grid[0] + 1
  row = read_out(batch, grid[0], class_token=True)
  mask = longformer.seen(places, config.options.window)
  for block in blocks_of(captured['TemporalTransformer']):
    query, key = pair(block['attention']['window'])
    query_cls, key_cls = pair(block['attention']['global'])
    weights = jnp.concatenate(
      [_weights(query_cls, key_cls), _weights(query, key, mask[1:])], axis=1
    )
    row = with_residual(row, jnp.einsum('Bn,BnN->BN', row, weights))
  return vivit_rollout.in_space(
    captured, batch, grid, row[:, 1:], row[:, 0], token=True
  )


def _weights(query, key, mask=True) -> jax.Array:
  """Returns attention averaged over heads, float32 [B, n, N]."""
  query, key = (x.astype(jnp.float32) for x in (query, key))
  scores = jnp.einsum('BnHd,BNHd->BHnN', query, key) / query.shape[-1] ** 0.5
  return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)).mean(axis=1)


FAMILY = register(
  Family(
    name='vtn',
    title='VTN',
    options=Options,
    sizes=sizes.SIZES,
    default_size='B',
    build=_build,
    grid=sizes.patch_grid,
    layers=_layers,
    data=_PIXELS | {'frames': 16},
    supports=BUILD_KEYS,
    check=per_frame.check,
    check_clip=sizes.check_patches,
    pools=('token',),
    reads_frame_numbers=True,
    imports=(
      Import(
        lambda file: (
          {'mlp_head.4.weight', f'{_EMBEDDINGS}.LayerNorm.weight'}
          <= {*file.names}
        ),
        _read,
      ),
      *image_vit.IMPORTS,
    ),
    initialises_from={IMAGE_VIT: per_frame.from_image},
    resize=per_frame.RESIZE,
    explain_missing=per_frame.explain_missing,
    explain_unused=per_frame.explain_unused,
    fixed_options=('window',),
    reported_options=('gelu', 'norm_epsilon'),
    infer_sizes=per_frame.infer_sizes,
    describe=per_frame.describe,
    attention_flow=_rollout,
    cam=per_frame.CAM,
    clip=(16, 224),
    published=(
      Published('VTN', 'B'),
      Published('VTN, whole video', 'B', frames=250),
    ),
  )
)

"""ViViT Models 1 and 2, and the base class (arXiv 2103.15691, section 3.3)."""

import einops
import flax.linen as nn
import jax

from vivit_jax.models import blocks, embeddings
from vivit_jax.models.blocks import Mode
from vivit_jax.models.pools import Encoded


class Backbone(nn.Module):
  """Base of all four models: embeds a video as tokens; subclasses encode them.

  Attributes:
    width: D.
    depth: L, number of blocks (Model 2: of the spatial encoder).
    options: block settings.
    tubelet: frames, height and width of a tubelet, in pixels.
    embedding: 'tubelet' or 'uniform_frames'.
    kernel_init: a key of `embeddings.KERNEL_INITS`.
    positions: one of `positions.POSITIONS`.
    class_token: whether each sequence starts with a class token.
  """

  width: int
  depth: int
  options: blocks.Options
  tubelet: tuple[int, int, int]
  embedding: str = 'tubelet'
  kernel_init: str = 'central_frame'
  positions: str = 'learned'
  class_token: bool = True

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    """Encodes tokens [B, t, h, w, D]."""
    raise NotImplementedError

  @nn.compact
  def __call__(self, video: jax.Array, mode: Mode) -> Encoded:
    """Encodes normalised videos [B, T, H, W, 3]."""
    tubelet = self.tubelet
    if self.embedding == 'uniform_frames':  # paper, section 3.2
      period = tubelet[0]
      video = jax.lax.slice_in_dim(
        video, period // 2, None, stride=period, axis=1
      )
      tubelet = (1, *tubelet[1:])
    x = embeddings.TubeletEmbedding(
      self.width,
      tubelet,
      embeddings.KERNEL_INITS[self.kernel_init],
      self.options.dtype,
      name='embedding',
    )(video)
    return self.encode(x, mode)

  # Helpers for `encode` of the subclasses. They create Flax modules and
  # parameters, so they must run within `__call__`.

  def encoder(
    self, name: str, layer_count: int, grid: tuple[int, int, int], **block
  ) -> blocks.Encoder:
    """Returns an encoder with this model's options and positions."""
    return blocks.Encoder(
      layer_count,
      self.options,
      grid,
      self.positions,
      first=int(self.class_token),
      name=name,
      **block,
    )

  def with_class_token(self, x_BxNxD: jax.Array, name: str) -> jax.Array:
    """Prepends a learned token to each sequence if the model has one."""
    if not self.class_token:
      return x_BxNxD
    token = self.param(name, nn.initializers.zeros, (1, 1, self.width))
    return embeddings.prepend_class_token(x_BxNxD, token)

  def encode_jointly(
    self, x_BxtxhxwxD: jax.Array, mode: Mode, **block
  ) -> Encoded:
    """Implements `encode` with one encoder for all tokens, `Transformer`."""
    grid = t, h, w = x_BxtxhxwxD.shape[1:4]
    x = einops.rearrange(x_BxtxhxwxD, 'B t h w D -> B (t h w) D')
    x = self.with_class_token(x, 'cls')
    encoder = self.encoder('Transformer', self.depth, grid, **block)
    x, summary = blocks.tokens_and_summary(encoder(x, mode))
    tokens = einops.rearrange(x, 'B (t h w) D -> B t h w D', t=t, h=h, w=w)
    return Encoded(tokens, summary, x)


class Joint(Backbone):
  """Model 1: spatio-temporal attention among all tokens of a clip."""

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    return self.encode_jointly(x_BxtxhxwxD, mode)


class SpatialFirst(Backbone):
  """Base of models with a spatial encoder per temporal index.

  The spatial encoder maps the tokens of a temporal index to one vector, the
  class token or the mean. Subclasses encode the vectors.
  """

  def encode_in_space(
    self, x_BxtxhxwxD: jax.Array, mode: Mode, **more
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the encoded tokens [B, t, h, w, D], and vectors [B, t, D].

    `more`: attributes of the encoder.
    """
    batch, frames, h, w, _ = x_BxtxhxwxD.shape
    x = einops.rearrange(x_BxtxhxwxD, 'B t h w D -> (B t) (h w) D')
    x = self.with_class_token(x, 'cls_SpatialTransformer')
    spatial = self.encoder('SpatialTransformer', self.depth, (1, h, w), **more)
    x, vectors = blocks.tokens_and_summary(spatial(x, mode.repeated(frames)))
    tokens = einops.rearrange(
      x, '(B t) (h w) D -> B t h w D', B=batch, h=h, w=w
    )
    if vectors is None:
      vectors = x.mean(axis=1)
    return tokens, einops.rearrange(vectors, '(B t) D -> B t D', B=batch)


class FactorisedEncoder(SpatialFirst):
  """Model 2: a spatial encoder per temporal index, then a temporal encoder.

  The temporal encoder reads the vectors of the spatial one, and has its own
  positions and class token. With temporal_layers=0, the vectors are pooled
  directly: the paper's "average-pooled" baseline, which ignores frame order.

  Attributes:
    temporal_layers: L_t in the paper; `depth` is L_s.
  """

  temporal_layers: int = 4

  def encode(self, x_BxtxhxwxD: jax.Array, mode: Mode) -> Encoded:
    grid = x_BxtxhxwxD.shape[1], 1, 1
    tokens, x = self.encode_in_space(x_BxtxhxwxD, mode)
    if not self.temporal_layers:
      return Encoded(tokens, x.mean(axis=1) if self.class_token else None, x)
    x = self.with_class_token(x, 'cls_TemporalTransformer')
    temporal = self.encoder('TemporalTransformer', self.temporal_layers, grid)
    x, summary = blocks.tokens_and_summary(temporal(x, mode))
    return Encoded(tokens, summary, x)

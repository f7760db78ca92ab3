"""What all models share: the way in, from pixels to tokens, and the head."""

import itertools
from collections.abc import Mapping

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import embeddings, layers


@flax.struct.dataclass
class Features:
  """A clip, before the head.

  Attributes:
    tokens: [B, t, h, w, D], all tokens after the last encoder that has them.
    pre_logits: float32 [B, D], or of the representation layer's width.
  """

  tokens: jax.Array
  pre_logits: jax.Array


class VideoTransformer(nn.Module):
  """The base of the families; a family says how tokens become one vector.

  One linear layer, zero at the start, serves all heads; its columns are cut in
  the order of `heads`. A single head thus has the reference's own names.

  Attributes:
    heads: name of each head -> number of classes, in the order of the columns.
    width: D.
    depth: L, blocks of the encoder (of the spatial one in Model 2).
    options: of the blocks.
    tubelet: frames, height and width of a tubelet, in pixels.
    embedding: one of `embeddings.EMBEDDINGS`.
    kernel_init: a key of `embeddings.KERNEL_INITS`.
    positions: one of `positions.POSITIONS`.
    classifier: 'token', a class token, or 'average' over all tokens.
    representation: width of a tanh layer before the head, or None.
  """

  heads: Mapping[str, int]
  width: int
  depth: int
  options: layers.Options
  tubelet: tuple[int, int, int]
  embedding: str = 'tubelet'
  kernel_init: str = 'central_frame'
  positions: str = 'learned'
  classifier: str = 'token'
  representation: int | None = None

  def encode(
    self, x_BxtxhxwxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns tokens as they came, encoded, and one vector [B, D]."""
    raise NotImplementedError

  @nn.compact
  def __call__(
    self,
    video: jax.Array,
    *,
    train: bool = False,
    example_B: jax.Array | None = None,
    features: bool = False,
  ) -> dict[str, jax.Array] | Features:
    """Classifies clips.

    Args:
      video: float [B, T, H, W, 3], normalised (`pixels.normalise`).
      train: whether stochastic depth draws, from the rng `stochastic_depth`.
      example_B: int [B], each clip's place in the global batch; needed where
        stochastic depth draws. All frames of a clip share a draw.
      features: whether to return what comes before the head instead.

    Returns:
      Logits, float32 [B, K] for each head; or `Features`.
    """
    tubelet = self.tubelet
    if self.embedding == 'uniform_frames':
      video = embeddings.middle_frames(video, tubelet[0])
      tubelet = (1, *tubelet[1:])
    x = embeddings.TubeletEmbedding(
      self.width,
      tubelet,
      embeddings.KERNEL_INITS[self.kernel_init],
      self.options.dtype,
      name='embedding',
    )(video)
    tokens, x_BxD = self.encode(x, example_B, train=train)
    x_BxD = x_BxD.astype(jnp.float32)
    if self.representation is not None:
      x_BxD = nn.tanh(nn.Dense(self.representation, name='pre_logits')(x_BxD))
    head = nn.Dense(
      sum(self.heads.values()),
      kernel_init=nn.initializers.zeros,
      name='output_projection',
    )
    if features:
      return Features(tokens, x_BxD)
    edges = list(itertools.accumulate(self.heads.values()))[:-1]
    return dict(zip(self.heads, jnp.split(head(x_BxD), edges, axis=-1)))

  # For the families' `encode`, which runs within `__call__`.

  def encoder(
    self, name: str, layer_count: int, grid: tuple[int, int, int], **block
  ) -> layers.Encoder:
    return layers.Encoder(
      layer_count, self.options, grid, self.positions, name=name, **block
    )

  def with_class_token(self, x_BxNxD: jax.Array, name: str) -> jax.Array:
    """Puts a learned token before each sequence, if the model has one."""
    if self.classifier != 'token':
      return x_BxNxD
    token = self.param(name, nn.initializers.zeros, (1, 1, self.width))
    return embeddings.prepend_class_token(x_BxNxD, token)

  def split_off_vector(self, x_BxNxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the tokens, and the class token or else their average [B, D]."""
    if self.classifier == 'token':
      return x_BxNxD[:, 1:], x_BxNxD[:, 0]
    return x_BxNxD, x_BxNxD.mean(axis=1)

  def encode_jointly(
    self,
    x_BxtxhxwxD: jax.Array,
    example_B: jax.Array | None,
    *,
    train: bool,
    **block,
  ) -> tuple[jax.Array, jax.Array]:
    """Runs all tokens through one encoder, `Transformer`; see `encode`."""
    grid = t, h, w = x_BxtxhxwxD.shape[1:4]
    x = einops.rearrange(x_BxtxhxwxD, 'B t h w D -> B (t h w) D')
    x = self.with_class_token(x, 'cls')
    encoder = self.encoder('Transformer', self.depth, grid, **block)
    x, x_BxD = self.split_off_vector(encoder(x, example_B, train=train))
    tokens = einops.rearrange(x, 'B (t h w) D -> B t h w D', t=t, h=h, w=w)
    return tokens, x_BxD

"""ViViT Model 2, the factorised encoder (arXiv 2103.15691, section 3.3)."""

import itertools
from collections.abc import Mapping

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import embeddings, layers


class FactorisedEncoder(nn.Module):
  """A spatial encoder over each temporal index, then a temporal one.

  The spatial encoder turns the tokens of one temporal index into one vector,
  its class token; the temporal encoder, with a class token and positions of
  its own, turns those vectors into one. Without temporal layers the vectors
  are averaged: the paper's "average-pooled" baseline, blind to order.

  One linear layer, zero at the start, serves all heads; its columns are cut in
  the order of `heads`. A single head thus has the reference's own names.

  Attributes:
    heads: name of each head -> number of classes, in the order of the columns.
    width, attention_heads, mlp: sizes of a block; D is `width`.
    spatial_layers, temporal_layers: L_s and L_t of the paper.
    tubelet: frames, height and width of a tubelet, in pixels.
    kernel_init: a name in `embeddings.KERNEL_INITS`.
    stochastic_depth: rate at the last block of each encoder.
    dtype: of the computation; parameters and logits are float32.
  """

  heads: Mapping[str, int]
  width: int
  attention_heads: int
  mlp: int
  spatial_layers: int
  temporal_layers: int
  tubelet: tuple[int, int, int]
  kernel_init: str = 'central_frame'
  stochastic_depth: float = 0.0
  dtype: jnp.dtype = jnp.float32

  def _encoder(self, layer_count: int, name: str) -> layers.Encoder:
    return layers.Encoder(
      layer_count,
      self.attention_heads,
      self.mlp,
      self.stochastic_depth,
      self.dtype,
      name=name,
    )

  def _class_token(self, name: str) -> jax.Array:
    return self.param(name, nn.initializers.zeros, (1, 1, self.width))

  @nn.compact
  def __call__(
    self,
    video: jax.Array,
    *,
    train: bool = False,
    example_B: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Classifies clips.

    Args:
      video: float [B, T, H, W, 3], normalised (`pixels.normalise`).
      train: whether stochastic depth draws, from the rng `stochastic_depth`.
      example_B: int [B], each clip's place in the global batch; needed where
        stochastic depth draws. All frames of a clip share a draw.

    Returns:
      Logits, float32 [B, K] for each head.
    """
    x = embeddings.TubeletEmbedding(
      self.width,
      self.tubelet,
      embeddings.KERNEL_INITS[self.kernel_init],
      self.dtype,
      name='embedding',
    )(video)
    batch, frames = x.shape[:2]
    frame_example = None if example_B is None else jnp.repeat(example_B, frames)

    x = einops.rearrange(x, 'B t h w D -> (B t) (h w) D')
    x = embeddings.prepend_class_token(
      x, self._class_token('cls_SpatialTransformer')
    )
    spatial = self._encoder(self.spatial_layers, 'SpatialTransformer')
    x = spatial(x, frame_example, train=train)[:, 0]
    x_BxtxD = einops.rearrange(x, '(B t) D -> B t D', B=batch)

    if self.temporal_layers:
      x = embeddings.prepend_class_token(
        x_BxtxD, self._class_token('cls_TemporalTransformer')
      )
      temporal = self._encoder(self.temporal_layers, 'TemporalTransformer')
      x_BxD = temporal(x, example_B, train=train)[:, 0]
    else:
      x_BxD = x_BxtxD.mean(axis=1)

    logits = nn.Dense(
      sum(self.heads.values()),
      kernel_init=nn.initializers.zeros,
      name='output_projection',
    )(x_BxD.astype(jnp.float32))
    edges = list(itertools.accumulate(self.heads.values()))[:-1]
    return dict(zip(self.heads, jnp.split(logits, edges, axis=-1)))

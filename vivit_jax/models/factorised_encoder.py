"""ViViT Model 2, the factorised encoder (arXiv 2103.15691, section 3.3)."""

import einops
import jax
import jax.numpy as jnp

from vivit_jax.models import base


class FactorisedEncoder(base.VideoTransformer):
  """A spatial encoder over each temporal index, then a temporal one.

  The spatial encoder turns the tokens of one temporal index into one vector,
  its class token or their average; the temporal encoder, with positions and
  perhaps a class token of its own, turns those vectors into one. Without
  temporal layers the vectors are averaged: the paper's "average-pooled"
  baseline, blind to order.

  Attributes:
    temporal_layers: L_t of the paper; `depth` is L_s.
  """

  temporal_layers: int = 4

  def encode(
    self, x_BxtxhxwxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    batch, frames, h, w, _ = x_BxtxhxwxD.shape
    frame_example = None if example_B is None else jnp.repeat(example_B, frames)
    x = einops.rearrange(x_BxtxhxwxD, 'B t h w D -> (B t) (h w) D')
    x = self.with_class_token(x, 'cls_SpatialTransformer')
    spatial = self.encoder('SpatialTransformer', self.depth, (1, h, w))
    x, vectors = self.split_off_vector(spatial(x, frame_example, train=train))
    tokens = einops.rearrange(
      x, '(B t) (h w) D -> B t h w D', B=batch, h=h, w=w
    )
    x = einops.rearrange(vectors, '(B t) D -> B t D', B=batch)
    if not self.temporal_layers:
      return tokens, x.mean(axis=1)
    x = self.with_class_token(x, 'cls_TemporalTransformer')
    temporal = self.encoder(
      'TemporalTransformer', self.temporal_layers, (frames, 1, 1)
    )
    _, x_BxD = self.split_off_vector(temporal(x, example_B, train=train))
    return tokens, x_BxD

"""ViViT Model 1, joint space-time attention (arXiv 2103.15691, section 3.3)."""

import jax

from vivit_jax.models import base


class Joint(base.VideoTransformer):
  """All tokens of a clip attend to all; the class token is read out."""

  def encode(
    self, x_BxtxhxwxD: jax.Array, example_B: jax.Array | None, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    return self.encode_jointly(x_BxtxhxwxD, example_B, train=train)

"""From pixels to tokens: tubelets, sampled frames, and the class token."""

from collections.abc import Callable

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models.products import matrix_product

Initializer = Callable[..., jax.Array]


def central_frame(image_kernel: Initializer) -> Initializer:
  """Initialises a tubelet kernel [t, p, q, C, D] as an image model's.

  The frame at floor(t / 2) holds a patch kernel, all others are zero, so that
  the network begins as an image model of the central frame (paper, section
  3.4). The reference code zeroes the width axis instead; that is a slip there.

  Args:
    image_kernel: initialiser of the patch kernel [p, q, C, D].
  """

  def init(key, shape, dtype=jnp.float32):
    centre = image_kernel(key, shape[1:], dtype)
    return jnp.zeros(shape, dtype).at[shape[0] // 2].set(centre)

  return init


# The values of the config key model.options.tubelet_init.
KERNEL_INITS: dict[str, Initializer] = {
  'central_frame': central_frame(nn.initializers.lecun_normal()),
  'random': nn.initializers.lecun_normal(in_axis=(0, 1, 2, 3), out_axis=4),
}


class TubeletEmbedding(nn.Module):
  """Non-overlapping tubelets, each projected to one token (paper, eq. 1, 3.2).

  A 3D convolution whose stride is its kernel, written as a reshape and one
  matrix product. The kernel keeps the convolution's shape.

  Attributes:
    width: D.
    tubelet: frames, height and width of a tubelet, in pixels.
    kernel_init: initialiser of the kernel [t, p, q, C, D].
    dtype: of the computation; parameters are float32.
  """

  width: int
  tubelet: tuple[int, int, int]
  kernel_init: Initializer = KERNEL_INITS['central_frame']
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, video: jax.Array) -> jax.Array:
    """Embeds a video [B, T, H, W, C] as tokens [B, t, h, w, D]."""
    frames, height, width = self.tubelet
    kernel = self.param(
      'kernel',
      self.kernel_init,
      (*self.tubelet, video.shape[-1], self.width),
    )
    bias = self.param('bias', nn.initializers.zeros, (self.width,))
    tubelets = einops.rearrange(
      video,
      'B (t f) (h p) (w q) C -> B t h w f p q C',
      f=frames,
      p=height,
      q=width,
    )
    tokens = matrix_product(
      tubelets.astype(self.dtype),
      kernel.astype(self.dtype),
      (((4, 5, 6, 7), (0, 1, 2, 3)), ((), ())),
    )
    return tokens + bias.astype(self.dtype)


EMBEDDINGS = ('tubelet', 'uniform_frames')  # of the config key model.embedding


def middle_frames(video: jax.Array, period: int) -> jax.Array:
  """Samples frames evenly (paper, section 3.2, figure 2).

  The paper's "uniform frame sampling" cuts these frames into patches, as
  images, and does not look at the others.

  Args:
    video: [B, T, H, W, C].
    period: frames, of which the middle one is taken.

  Returns:
    [B, T / period, H, W, C].
  """
  return video[:, period // 2 :: period]


def prepend_class_token(x_BxNxD: jax.Array, token: jax.Array) -> jax.Array:
  """Puts a token [1, 1, D] before each sequence: [B, N, D] -> [B, N + 1, D]."""
  batch, _, width = x_BxNxD.shape
  tokens = jnp.broadcast_to(token.astype(x_BxNxD.dtype), (batch, 1, width))
  return jnp.concatenate([tokens, x_BxNxD], axis=1)

"""Token embeddings: tubelets and the class token."""

from collections.abc import Callable

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def central_frame(image_kernel: Initializer) -> Initializer:
  """Returns an initialiser of tubelet kernels [t, p, q, C, D]: central frame.

  The frame at floor(t / 2) holds a patch kernel; the others are zero. So the
  network starts as an image model of the central frame (paper, section 3.4).
  The reference code zeroes along the width axis instead, by mistake.

  Args:
    image_kernel: initialiser of the patch kernel [p, q, C, D].
  """

  def init(key, shape, dtype=jnp.float32):
    centre = image_kernel(key, shape[1:], dtype)
    return jnp.zeros(shape, dtype).at[shape[0] // 2].set(centre)

  return init


# torch's default for a convolution: uniform, up to 1 / sqrt(fan in).
TORCH_INIT = nn.initializers.variance_scaling(
  1 / 3, 'fan_in', 'uniform', in_axis=(0, 1, 2, 3), out_axis=4
)
# Initialisers of kernels; model.options.tubelet_init has the first two.
KERNEL_INITS: dict[str, Initializer] = {
  'central_frame': central_frame(nn.initializers.lecun_normal()),
  'random': nn.initializers.lecun_normal(in_axis=(0, 1, 2, 3), out_axis=4),
  'torch': TORCH_INIT,
}


class TubeletEmbedding(nn.Module):
  """Projects non-overlapping tubelets to tokens (paper, eq. 1, section 3.2).

  A 3D convolution whose stride is the kernel size, computed as a reshape and
  one matrix product. The kernel has the convolution's shape. No intermediate
  array has more than 6 axes, which is TFLite's limit.

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
      einops.rearrange(video, 'B T H W C -> (B T) H (W C)'),
      '(n f) (h p) (w r) -> n h w (f p r)',
      f=frames,
      p=height,
      r=width * video.shape[-1],
    )
    tokens = jnp.dot(
      tubelets.astype(self.dtype),
      einops.rearrange(kernel, 'f p q C D -> (f p q C) D').astype(self.dtype),
    )
    tokens = einops.rearrange(
      tokens, '(B t) h w D -> B t h w D', B=video.shape[0]
    )
    return tokens + bias.astype(self.dtype)


def prepend_class_token(x_BxNxD: jax.Array, token: jax.Array) -> jax.Array:
  """Prepends a token [1, 1, D] to each sequence: [B, N, D] -> [B, N + 1, D]."""
  batch, _, width = x_BxNxD.shape
  tokens = jnp.broadcast_to(token.astype(x_BxNxD.dtype), (batch, 1, width))
  return jnp.concatenate([tokens, x_BxNxD], axis=1)

"""Averaging a model's logits over several views of each video."""

from collections.abc import Callable

import einops
import jax
import jax.numpy as jnp


def average_views(
  apply: Callable[[jax.Array], dict[str, jax.Array]], video: jax.Array
) -> dict[str, jax.Array]:
  """Applies a model to every view and averages logits over the views.

  The paper averages per-view logits (section 4.1), not probabilities.

  Args:
    apply: clips [b * V, T, H, W, 3] -> logits [b * V, K] of each head.
    video: [b, V, T, H, W, 3], in whatever unit `apply` takes.

  Returns:
    float32 [b, K] of each head.
  """
  clips = einops.rearrange(video, 'b v t h w c -> (b v) t h w c')
  # In float32, lest a half-precision model's logits be rounded once more.
  return {
    head: einops.reduce(
      logits.astype(jnp.float32), '(b v) k -> b k', 'mean', v=video.shape[1]
    )
    for head, logits in apply(clips).items()
  }

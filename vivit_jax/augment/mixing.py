"""Mixup and cutmix of neighbours in the global batch, on the accelerator."""

from typing import Any

import jax
import jax.numpy as jnp

from vivit_jax import parallel
from vivit_jax.augment import draws
from vivit_jax.augment.boxes import box_mask
from vivit_jax.config import AugmentConfig


def mix(
  video: jax.Array,
  targets: Any,
  key: jax.Array,
  config: AugmentConfig,
) -> tuple[jax.Array, Any, jax.Array]:
  """Mixes each example with its neighbour in the global batch.

  The whole batch gets mixup (Zhang et al., arXiv 1710.09412) or cutmix (Yun et
  al., arXiv 1905.04899), and one share of Beta(alpha, alpha); where both are
  on, cutmix with probability `config.cutmix_probability`, as in timm. Called
  inside a function mapped over devices.

  Args:
    video: float [B, T, H, W, 3].
    targets: tree of float [B, ...], mixed as the pixels are.
    key: the step's 'mix'; the same on all devices.
    config: alphas; `mixup`, `cutmix` or both are above 0.

  Returns:
    The mixed video and targets, and the share of its own that each example
    keeps: with cutmix, the exact part of its pixels.
  """
  if config.mixup:
    weight = share = jax.random.beta(
      draws.key_for(key, 'mixup'), config.mixup, config.mixup
    )
  if config.cutmix:
    own = cutmix_weights(
      draws.key_for(key, 'cutmix'), config.cutmix, video.shape[2:4]
    )
    if config.mixup:
      cut = jax.random.bernoulli(
        draws.key_for(key, 'mixup_or_cutmix'), config.cutmix_probability
      )
      weight, share = (
        jnp.where(cut, own, share),
        jnp.where(cut, own.mean(), share),
      )
    else:
      weight, share = own, own.mean()
    weight = weight[..., None]

  def mixed(x, weight):
    return weight * x + (1.0 - weight) * parallel.next_example(x)

  targets = jax.tree.map(lambda x: mixed(x, share), targets)
  return mixed(video, weight), targets, share


def cutmix_weights(
  key: jax.Array, alpha: float, size: tuple[int, int]
) -> jax.Array:
  """Returns float32 [H, W]: 1 where a picture stays, 0 where it is replaced.

  The box has the picture's proportions and covers 1 - Beta(alpha, alpha) of
  its area. Its centre is anywhere, and it is cut off at the edges.
  """
  area_key, *centre_keys = jax.random.split(key, 3)
  side = jnp.sqrt(1.0 - jax.random.beta(area_key, alpha, alpha))
  sides = [jnp.floor(pixels * side) for pixels in size]
  centres = [
    jax.random.randint(k, (), 0, pixels) for k, pixels in zip(centre_keys, size)
  ]
  top, left = (c - jnp.floor(s / 2) for c, s in zip(centres, sides))
  inside = box_mask(size, top, left, top + sides[0], left + sides[1])
  return 1.0 - inside.astype(jnp.float32)

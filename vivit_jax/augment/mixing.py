"""Mixup and cutmix on the accelerator, across the global batch."""

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
  """Mixes each example with the next one in the global batch.

  The batch gets either mixup (Zhang et al., arXiv 1710.09412) or cutmix (Yun
  et al., arXiv 1905.04899), with one mixing weight from Beta(alpha, alpha) for
  all examples. If both are on, cutmix has probability
  `config.cutmix_probability`, as in timm. Call it in a function that is mapped
  over devices.

  Args:
    video: float [B, T, H, W, 3].
    targets: tree of float [B, ...], mixed with the returned weight.
    key: the step's key for 'mix'; the same on all devices.
    config: `mixup` and `cutmix` (alphas); at least one is above 0.

  Returns:
    The mixed video, the mixed targets, and each example's own weight, float32
    []; with cutmix, it is the exact share of pixels that the example keeps.
  """
  if config.mixup:
    weight = share = jax.random.beta(
      draws.key_for(key, 'mixup'), config.mixup, config.mixup
    )
  if config.cutmix:
    mask_HxW = cutmix_weights(
      draws.key_for(key, 'cutmix'), config.cutmix, video.shape[2:4]
    )
    if config.mixup:
      cut = jax.random.bernoulli(
        draws.key_for(key, 'mixup_or_cutmix'), config.cutmix_probability
      )
      weight, share = (
        jnp.where(cut, mask_HxW, share),
        jnp.where(cut, mask_HxW.mean(), share),
      )
    else:
      weight, share = mask_HxW, mask_HxW.mean()
    weight = weight[..., None]

  def mixed(x, weight):
    return weight * x + (1.0 - weight) * parallel.next_example(x)

  targets = jax.tree.map(lambda x: mixed(x, share), targets)
  return mixed(video, weight), targets, share


def cutmix_weights(
  key: jax.Array, alpha: float, size: tuple[int, int]
) -> jax.Array:
  """Returns a mask float32 [H, W]: 0 in a random box, 1 elsewhere.

  The box has the image's aspect ratio, and a random area relative to the image:
  1 - Beta(alpha, alpha). Its centre is uniform in the image, and it is cut off
  at the edges.
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

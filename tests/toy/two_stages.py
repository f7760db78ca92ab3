"""A family of models that exists for a test alone.

Two stages of pre-norm blocks on the frames of a clip. Between the stages, 2 x 2
neighbouring tokens of a frame become one of twice the width. Attention within
a frame has a bias for each relative position of two tokens; tokens are pooled
by their mean. It shares no shape and no name of a parameter with ViViT.
"""

import dataclasses

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import typed
from vivit_jax.errors import UserError
from vivit_jax.models import family as families
from vivit_jax.models.pools import Encoded

WIDTHS = {'small': 8, 'large': 16}  # of the first stage
HEADS = 2


@dataclasses.dataclass(frozen=True)
class Options:
  patch: int = typed.limited(4, at_least=1)  # pixels
  depth: int = typed.limited(1, at_least=1)  # blocks of each stage


class Block(nn.Module):
  grid: tuple[int, int]

  @nn.compact
  def __call__(self, x_BxNxD: jax.Array) -> jax.Array:
    (h, w), width = self.grid, x_BxNxD.shape[-1]
    table = self.param(
      'relative_bias', nn.initializers.normal(0.1), (2 * h - 1, 2 * w - 1)
    )
    places = np.stack(np.indices((h, w)), -1).reshape(-1, 2)
    offsets = places[:, None] - places[None] + (h - 1, w - 1)
    qkv = nn.Dense(3 * width, name='qkv')(nn.LayerNorm(name='norm1')(x_BxNxD))
    q, k, v = einops.rearrange(qkv, 'B N (three H d) -> three B H N d',
                               three=3, H=HEADS)  # fmt: skip
    scores = jnp.einsum('BHnd,BHmd->BHnm', q, k) / q.shape[-1] ** 0.5
    shares = jax.nn.softmax(scores + table[offsets[..., 0], offsets[..., 1]])
    y = einops.rearrange(shares @ v, 'B H N d -> B N (H d)')
    x = x_BxNxD + nn.Dense(width, name='out')(y)
    y = nn.Dense(2 * width, name='fc1')(nn.LayerNorm(name='norm2')(x))
    return x + nn.Dense(width, name='fc2')(nn.gelu(y))


class TwoStages(nn.Module):
  width: int
  options: Options

  @nn.compact
  def __call__(self, video: jax.Array, mode) -> Encoded:
    del mode  # nothing is dropped in training
    batch, patch = video.shape[0], self.options.patch
    x = einops.rearrange(video, 'B t H W C -> (B t) H W C')
    x = nn.Conv(self.width, (patch, patch), patch, name='patches')(x)
    x = self.stage(x, 0)
    x = einops.rearrange(x, 'B (h p) (w q) D -> B h w (p q D)', p=2, q=2)
    x = self.stage(nn.Dense(2 * self.width, name='merge')(x), 1)
    x = nn.LayerNorm(name='norm')(x)
    return Encoded(einops.rearrange(x, '(B t) ... -> B t ...', B=batch))

  def stage(self, x_BxhxwxD: jax.Array, number: int) -> jax.Array:
    h, w = grid = x_BxhxwxD.shape[1:3]
    x = einops.rearrange(x_BxhxwxD, 'B h w D -> B (h w) D')
    for block in range(self.options.depth):
      x = Block(grid, name=f'stage{number}_block{block}')(x)
    return einops.rearrange(x, 'B (h w) D -> B h w D', h=h, w=w)


def resize_bias(array: families.Resizing) -> families.Resized:
  if array.value.shape == array.initial.shape:
    return array.value, ''
  value = jax.image.resize(array.value, array.initial.shape, 'linear')
  return np.asarray(value), f'{array.value.shape} -> {array.initial.shape}'


def check_clip(options: Options, frames: int, crop: tuple[int, int]) -> None:
  if any(side % (2 * options.patch) for side in crop):
    raise UserError(f'data.crop is {crop}; a multiple of {2 * options.patch}.')


def layers(config: families.ModelConfig) -> families.Layers:
  depth = config.options.depth
  rules = [
    ('patches/', 0),
    (r'stage0_block(\d+)/', lambda block: block + 1),
    ('merge/', depth),
    (r'stage1_block(\d+)/', lambda block: depth + block + 1),
    ('norm/', 2 * depth + 1),
  ]
  return families.Layers(2 * depth, rules)


TWO_STAGES = families.Family(
  name='two_stages',
  options=Options,
  sizes=WIDTHS,
  build=lambda config, _: TwoStages(WIDTHS[config.size], config.options),
  grid=lambda options, frames, crop: (
    frames, *(side // options.patch // 2 for side in crop)
  ),
  layers=layers,
  check_clip=check_clip,
  clip=(8, 32),
  resize=[('.*/relative_bias', resize_bias)],
)  # fmt: skip
families.register(TWO_STAGES)

"""The video classifier of all families: backbone, pool and linear heads."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Collection, Mapping

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import attention_pools, pools
from vivit_jax.models.blocks import Mode, dropout

HEAD = 'output_projection'
SSV2_CLASSES = 174  # of Something-Something v2
SSV2_NOTE = (
  f'the {SSV2_CLASSES} classes are taken for those of Something-Something v2, '
  'whose clips have a frame of each segment'
)
REPRESENTATION = 'pre_logits'
# First components of parameter names outside the backbone.
OWN = (HEAD, REPRESENTATION, pools.NORM, *attention_pools.MODULES)


@flax.struct.dataclass
class Features:
  """The head's input, and the tokens before pooling.

  Attributes:
    tokens: see `pools.Encoded`.
    pre_logits: the head's input, float32 [B, D]; D is `representation` if set.
    stages: see `pools.Encoded`.
  """

  tokens: jax.Array
  pre_logits: jax.Array
  stages: tuple[jax.Array, ...] = ()


class VideoClassifier(nn.Module):
  """Maps clips to the logits of each head.

  All heads share one linear layer, initialised to zero; its columns are split
  in the order of `heads`. Parameters are named as in the reference, which has
  one head and no prefix for backbone and pool.

  Attributes:
    backbone: (video [B, T, H, W, 3], `Mode`) -> `pools.Encoded`.
    pool: `pools.Encoded` -> [B, D].
    heads: head name -> number of classes, in column order.
    representation: width of a tanh layer before the head, or None.
    dropout: rate before the head, in training.
    clips: number of clips, in a row in each video, that are encoded apart.
    frozen: see `Mode`.
    reads_frame_numbers: see `Family`; callers pass `frame_BxT` only if true.
  """

  backbone: nn.Module
  pool: nn.Module
  heads: Mapping[str, int]
  representation: int | None = None
  dropout: float = 0.0
  clips: int = 1
  frozen: Collection[str] = frozenset()
  reads_frame_numbers: bool = False

  def setup(self):
    nn.share_scope(self, self.backbone)
    nn.share_scope(self, self.pool)

  @nn.compact
  def __call__(
    self,
    video: jax.Array,
    *,
    train: bool = False,
    example_B: jax.Array | None = None,
    frame_BxT: jax.Array | None = None,
    features: bool = False,
  ) -> dict[str, jax.Array] | Features:
    """Returns logits or features of clips.

    Args:
      video: float [B, T, H, W, 3], normalised (`pixels.normalise`).
      train, example_B, frame_BxT: see `Mode`.
      features: whether to return the head's input instead of logits.

    Returns:
      Logits, float32 [B, K] for each head; or `Features`.
    """
    mode = Mode(train, example_B, self.frozen, frame_BxT)
    encoded = self.encode(video, mode)
    x_BxD = self.pool(encoded).astype(jnp.float32)
    if self.representation is not None:
      x_BxD = nn.tanh(nn.Dense(self.representation, name=REPRESENTATION)(x_BxD))
    if train and self.dropout:
      key = self.make_rng('dropout')
      x_BxD = dropout(x_BxD, self.dropout, key, example_B)
    if features:
      return Features(encoded.tokens, x_BxD, encoded.stages)
    if not self.heads:
      return {}
    head = nn.Dense(
      sum(self.heads.values()), kernel_init=nn.initializers.zeros, name=HEAD
    )
    edges = list(itertools.accumulate(self.heads.values()))[:-1]
    return dict(zip(self.heads, jnp.split(head(x_BxD), edges, axis=-1)))

  def encode(self, video: jax.Array, mode: Mode) -> pools.Encoded:
    """Returns the backbone's output, all clips of a video joined."""
    if self.clips == 1:
      return self.backbone(video, mode)
    apart = functools.partial(
      einops.rearrange, pattern='B (c T) ... -> (B c) T ...', c=self.clips
    )
    mode = mode.repeated(self.clips)
    if mode.frame_BxT is not None:
      mode = dataclasses.replace(mode, frame_BxT=apart(mode.frame_BxT))
    return self.backbone(apart(video), mode).joined(self.clips)


def is_own(name: str) -> bool:
  """Returns whether a parameter belongs to head, representation or pool."""
  return name.partition('/')[0] in OWN


def without_own(
  arrays: Mapping[str, jax.Array], target: object = None
) -> dict[str, jax.Array]:
  """Returns the backbone's arrays; a `Family.initialises_from`."""
  del target
  return {name: x for name, x in arrays.items() if not is_own(name)}


def is_head(name: str) -> bool:
  """Returns whether a parameter belongs to the last linear layer."""
  return name.startswith(f'{HEAD}/')


def head_damage(arrays: Mapping[str, jax.Array]) -> str:
  """Returns why these are not the arrays of a head or of none, or ''."""
  names = f'{HEAD}/kernel', f'{HEAD}/bias'
  lacking = [name for name in names if name not in arrays]
  if len(lacking) == 1:
    return f'{lacking[0]} is missing'
  if not lacking:
    kernel, bias = (arrays[name].shape for name in names)
    if len(kernel) != 2 or bias != kernel[1:]:
      return f'{names[0]} has shape {kernel}, {names[1]} {bias}'
  return ''


def has_representation(names: Collection[str]) -> bool:
  """Returns whether the parameters have a representation layer."""
  return any(name.startswith(f'{REPRESENTATION}/') for name in names)


def classes_of(arrays: Mapping[str, jax.Array]) -> int | None:
  """Returns the total classes of a checkpoint's heads; None without a head."""
  bias = arrays.get(f'{HEAD}/bias')
  return None if bias is None else bias.size

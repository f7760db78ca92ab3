"""A model from its config, and what can be asked of one without making it."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from vivit_jax import typed
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import blocks, classifier, family, pools
from vivit_jax.models.family import ModelConfig


def build(
  config: ModelConfig, frozen: Collection[str] = frozenset()
) -> classifier.VideoClassifier:
  """Returns the Flax module of a model.

  Args:
    config: with its heads.
    frozen: as of `blocks.Mode`.

  Raises:
    UserError: as of `check`.
  """
  check(config)
  of = family.get(config.family)
  pool = pool_of(config)
  if pool in of.own_pools:
    module = of.own_pools[pool](config)
  elif pool == 'attention':
    attention_heads, mlp = of.pool_sizes(config)
    dtype = jnp.dtype(config.dtype)
    module = pools.Attention(
      blocks.Options(attention_heads=attention_heads, mlp=mlp, dtype=dtype)
    )
  else:
    module = pools.POOLS[pool]()
  return classifier.VideoClassifier(
    backbone=of.build(config, pool == 'token'),
    pool=module,
    heads=dict(config.heads),
    representation=config.representation,
    frozen=frozenset(frozen),
  )


def check(config: ModelConfig) -> None:
  """Raises a UserError for a config that cannot be built."""
  of = family.get(config.family)
  typed.check(config, 'model')
  if config.size not in of.sizes:
    raise UserError(
      f"model.size is '{config.size}'; {of.name} takes one of "
      f'{", ".join(of.sizes)}.{nearest(config.size, of.sizes)}'
    )
  of.check(config)
  if config.pool not in (None, *of.pools):
    raise UserError(
      f"model.pool is '{config.pool}', but {of.name} takes one of "
      f'{", ".join(of.pools)}.{nearest(config.pool, of.pools)}'
    )
  defaults = ModelConfig()
  for key in family.BUILD_KEYS:
    value = getattr(config, key)
    if value != getattr(defaults, key) and key not in of.reads:
      raise UserError(
        f'model.{key} is {value}, which {of.name} does not heed: leave it out.'
      )


def pool_of(config: ModelConfig) -> str:
  """Returns the pool of a model, its family's default where none is named."""
  return config.pool or family.get(config.family).pools[0]


def with_attention(config: ModelConfig, kind: str) -> ModelConfig:
  """Returns a model of the same parameters with another form of attention.

  'plain' is computed by any device, and its products can be counted. A family
  that has one form alone stays as it is.
  """
  if 'attention' not in family.get(config.family).reads:
    return config
  return dataclasses.replace(config, attention=kind)


def shapes(
  config: ModelConfig, frames: int, crop: tuple[int, int]
) -> dict[str, Any]:
  """Returns the shapes of a model's parameters, without making them."""
  clip = jax.ShapeDtypeStruct((1, frames, *crop, 3), jnp.float32)
  return jax.eval_shape(build(config).init, jax.random.key(0), clip)['params']


def layer_of(config: ModelConfig) -> tuple[Callable[[str], int], int]:
  """Returns name -> layer of a parameter, and the number of the last layer.

  Heads and pools are the last layer, L + 1.

  Raises, when called with a name:
    UserError: no rule of the family names it.
  """
  layers = family.get(config.family).layers(config)
  last = layers.blocks + 1

  def of(name: str) -> int:
    if classifier.is_own(name):
      return last
    layer = layers.of(name)
    if layer is None:
      raise UserError(
        f'no layer rule of {config.family} names the parameter {name}, which '
        'optim.layer_decay needs: add one to its family, or set '
        '--config.optim.layer_decay=1.'
      )
    return layer

  return of, last

"""Builds a model from its config; parameter shapes, pool and layer numbers."""

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
    config: model config, heads included.
    frozen: names of frozen modules; see `blocks.Mode`.

  Raises:
    UserError: see `check`.
  """
  check(config)
  kind = family.get(config.family)
  pool = pool_of(config)
  if pool in kind.extra_pools:
    module = kind.extra_pools[pool](config)
  elif pool == 'attention':
    module = attention_pool(config)
  else:
    module = pools.POOLS[pool]()
  return classifier.VideoClassifier(
    backbone=kind.build(config, pool == 'token'),
    pool=module,
    heads=dict(config.heads),
    representation=config.representation,
    dropout=config.dropout,
    clips=config.clips,
    frozen=frozenset(frozen),
    reads_frame_numbers=kind.reads_frame_numbers,
  )


def attention_pool(config: ModelConfig) -> pools.Attention:
  """Returns the pool 'attention' of a model."""
  attention_heads, mlp = family.get(config.family).pool_sizes(config)
  pool = config.attention_pool
  options = blocks.Options(
    attention_heads=pool.heads or attention_heads,
    mlp=mlp,
    epsilon=pool.epsilon,
    attention=config.attention,
    dtype=jnp.dtype(config.dtype),
  )
  return pools.Attention(options, pool)


def check(config: ModelConfig) -> None:
  """Raises a UserError for a config that cannot be built."""
  kind = family.get(config.family)
  typed.check(config, 'model')
  if config.size not in kind.sizes:
    raise UserError(
      f"model.size is '{config.size}'; {kind.name} takes one of "
      f'{", ".join(kind.sizes)}.{nearest(config.size, kind.sizes)}'
    )
  kind.check(config)
  if config.pool not in (None, *kind.pools):
    raise UserError(
      f"model.pool is '{config.pool}'; {kind.name} takes one of "
      f'{", ".join(kind.pools)}.{nearest(config.pool, kind.pools)}'
    )
  _check_pool(config.attention_pool)
  defaults = ModelConfig()
  for key in family.BUILD_KEYS:
    value = getattr(config, key)
    if value != getattr(defaults, key) and key not in kind.supports:
      raise UserError(
        f'model.{key} is {value}, but {kind.name} does not support it: leave '
        'it out.'
      )
  if config.remat == 'stages' and not kind.has_stages:
    raise UserError(
      f"model.remat is 'stages', but {kind.name} has no stages: set it to "
      "'full'."
    )


def _check_pool(pool: family.AttentionPool) -> None:
  """Raises a UserError for keys that another form has."""
  default = family.AttentionPool()
  for key, form in family.OF_ONE_FORM.items():
    value, unset = getattr(pool, key), getattr(default, key)
    if value != unset and pool.form != form:
      raise UserError(
        f'model.attention_pool.{key} is {value}, but only form {form!r} has '
        f'it, and the form is {pool.form!r}: set it to {unset}.'
      )


def pool_of(config: ModelConfig) -> str:
  """Returns the name of a model's pool; default: the family's first."""
  return config.pool or family.get(config.family).pools[0]


def pool_settings(config: ModelConfig) -> dict[str, Any]:
  """Returns the keys of a model's pool and their values.

  With the same arrays, they change the output.
  """
  settings = {'model.pool': pool_of(config)}
  if pool_of(config) == 'attention':
    heads, _ = family.get(config.family).pool_sizes(config)
    keys = dataclasses.asdict(config.attention_pool)
    keys['heads'] = keys['heads'] or heads
    settings |= {f'model.attention_pool.{k}': x for k, x in keys.items()}
  return settings


def with_attention(config: ModelConfig, kind: str) -> ModelConfig:
  """Returns the config with another model.attention, if its family has the key.

  'plain' runs on every device, and its matrix products can be counted.
  """
  if 'attention' not in family.get(config.family).supports:
    return config
  return dataclasses.replace(config, attention=kind)


def shapes(
  config: ModelConfig, frames: int, crop: tuple[int, int]
) -> dict[str, Any]:
  """Returns the tree of parameter shapes, without allocating parameters."""
  config = with_attention(config, 'plain')
  clip = jax.ShapeDtypeStruct((1, frames, *crop, 3), jnp.float32)
  return jax.eval_shape(build(config).init, jax.random.key(0), clip)['params']


def layer_of(config: ModelConfig) -> tuple[Callable[[str], int], int]:
  """Returns a function from parameter name to layer number, and the last layer.

  Head and pool are the last layer, L + 1. The function raises a UserError for a
  parameter that no layer rule of the family matches.
  """
  layers = family.get(config.family).layers(config)
  last = layers.blocks + 1

  def find(name: str) -> int:
    if classifier.is_own(name):
      return last
    layer = layers.layer_of(name)
    if layer is None:
      raise UserError(
        f'no layer rule of {config.family} matches the parameter {name}: add '
        'one to the family, or set --config.optim.layer_decay=1.'
      )
    return layer

  return find, last

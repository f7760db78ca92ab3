"""The compiled programs that benchmarks compare: ours, plain and train.py's.

`Plain` is the paper's models as the reference code computes them, the baseline:
a 3D convolution for the tubelets, flax's MultiHeadDotProductAttention, blocks
one by one. Parameters have the names and shapes of `vivit_jax.models`, so that
a test compares outputs. Without dropout, stochastic depth and other heads than
one. `dtype` is that of the layers; parameters and logits are float32.
"""

import argparse
import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import train_step
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models.sizes import SIZES, Size
from vivit_jax.training import optim
from vivit_jax.training import step as training

_CLASSES = 400
_APART = {'space': '(B t) s ...', 'time': '(B s) t ...'}


def _split(x, axis: str, times: int):
  """Returns sequences of one axis: [B, t s, ...] -> [B t, s, ...]."""
  return einops.rearrange(x, f'B (t s) ... -> {_APART[axis]}', t=times)


def _join(x, axis: str, times: int, batch: int):
  """Undoes `_split`."""
  pattern = f'{_APART[axis]} -> B (t s) ...'
  return einops.rearrange(x, pattern, B=batch, t=times)


class _Mlp(nn.Module):
  hidden: int
  dtype: Any

  @nn.compact
  def __call__(self, x):
    y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(x))
    return nn.Dense(x.shape[-1], dtype=self.dtype)(y)


def _halved(query, key, value, *, times: int, **_):
  """Attends to space with half the heads, to time with the others (Model 4)."""
  halves = (jnp.split(y, 2, axis=-2) for y in (query, key, value))
  attended = []
  for axis, *parts in zip(_APART, *halves):
    y = nn.dot_product_attention(*(_split(y, axis, times) for y in parts))
    attended.append(_join(y, axis, times, batch=len(query)))
  return jnp.concatenate(attended, axis=-2)


class _Block(nn.Module):
  """Transformer block; that of Model 3 attends to space, then to time."""

  family: str
  size: Size
  dtype: Any
  times: int

  @nn.compact
  def __call__(self, x):
    heads, mlp, dtype = self.size.attention_heads, self.size.mlp, self.dtype
    norm = functools.partial(nn.LayerNorm, 1e-6, dtype)
    attend = functools.partial(
      nn.MultiHeadDotProductAttention, heads, deterministic=True, dtype=dtype
    )
    if self.family == 'factorised_self_attention':
      for axis in _APART:
        y = _split(norm(name=f'LayerNorm_{axis}')(x), axis, self.times)
        y = attend(name=f'MultiHeadDotProductAttention_{axis}')(y, y)
        x = x + _join(y, axis, self.times, x.shape[0])
      y = norm(name='LayerNorm_mlp')(x)
      return x + _Mlp(mlp, dtype, name='MlpBlock')(y)
    if self.family == 'factorised_dot_product':
      halved = functools.partial(_halved, times=self.times)
      attend = functools.partial(attend, attention_fn=halved)
    y = norm(name='LayerNorm_0')(x)
    x = x + attend(name='MultiHeadDotProductAttention_0')(y, y)
    y = norm(name='LayerNorm_1')(x)
    return x + _Mlp(mlp, dtype, name='MlpBlock_0')(y)


class _Positions(nn.Module):
  @nn.compact
  def __call__(self, x):
    init = nn.initializers.normal(0.02)
    return x + self.param('pos_embedding', init, (1, *x.shape[1:]))


class _Encoder(nn.Module):
  """Position embeddings, blocks and a final LayerNorm."""

  layers: int
  block: Callable[..., nn.Module]
  dtype: Any

  @nn.compact
  def __call__(self, x):
    x = _Positions(name='posembed_input')(x)
    for layer in range(self.layers):
      x = self.block(name=f'encoderblock_{layer}')(x)
    return nn.LayerNorm(1e-6, self.dtype, name='encoder_norm')(x)


class Plain(nn.Module):
  """A model of one of the families of `vivit_jax.models`."""

  family: str
  size: Size  # its `layers` are the (spatial) blocks
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, video: jax.Array) -> jax.Array:
    """Returns logits [B, K] of normalised clips [B, T, H, W, 3]."""
    width, layers, dtype = self.size.width, self.size.layers, self.dtype
    stem = functools.partial(nn.Conv, padding='VALID', dtype=dtype)
    x = stem(width, (2, 16, 16), (2, 16, 16), name='embedding')(video)
    batch, times = x.shape[:2]
    block = functools.partial(_Block, self.family, self.size, dtype, times)
    if self.family == 'factorised_encoder':
      x = einops.rearrange(x, 'B t h w D -> (B t) (h w) D')
      x = self._with_token(x, 'cls_SpatialTransformer')
      x = _Encoder(layers, block, dtype, name='SpatialTransformer')(x)
      x = einops.rearrange(x[:, 0], '(B t) D -> B t D', B=batch)
      x = self._with_token(x, 'cls_TemporalTransformer')
      x = _Encoder(4, block, dtype, name='TemporalTransformer')(x)[:, 0]
    else:
      x = einops.rearrange(x, 'B t h w D -> B (t h w) D')
      joint = self.family == 'joint'
      if joint:
        x = self._with_token(x, 'cls')
      x = _Encoder(layers, block, dtype, name='Transformer')(x)
      x = x[:, 0] if joint else x.mean(axis=1)
    return nn.Dense(_CLASSES, name='output_projection')(x)

  def _with_token(self, x, name):
    token = self.param(name, nn.initializers.zeros, (1, 1, x.shape[-1]))
    token = jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1]))
    return jnp.concatenate([token, x], axis=1)


def size(args: argparse.Namespace) -> Size:
  """Returns the size of --size, with as many blocks as --layers."""
  if args.size not in SIZES:
    raise UserError(
      f'--size is {args.size}; it takes one of {", ".join(SIZES)}.'
    )
  given = SIZES[args.size]
  return dataclasses.replace(given, layers=args.layers or given.layers)


def _depth_key(family: str) -> str:
  return 'spatial_layers' if family == 'factorised_encoder' else 'layers'


def bare(
  name: str, args: argparse.Namespace, scan: bool = False, remat: str = 'none'
) -> tuple[Callable, dict[str, tuple[Callable, tuple]]]:
  """Returns the initialisation and the programs of 'ours' or 'plain'.

  The initialisation maps a key to (params, opt_state). 'forward' maps params
  and video [B, T, H, W, 3] to logits [B, K]; 'step' maps (params, opt_state),
  video and labels [B] to the loss and the new state. Each program comes with
  the shapes of its arguments.

  Args:
    name: 'ours' or 'plain'.
    args: flags of `train_step.define`.
    scan, remat: of the config of 'ours'.
  """
  model, ours = Plain(args.family, size(args), args.dtype), name == 'ours'
  if ours:
    shared = {'heads': {'label': _CLASSES}, 'scan': scan, 'remat': remat}
    options = {_depth_key(args.family): args.layers}
    config = models.ModelConfig(
      args.family, args.size, dtype=args.dtype, options=options, **shared
    )
    model = models.build(config)
  optimiser = optax.sgd(0.01, momentum=0.9)
  sides = (args.frames, args.crop, args.crop, 3)

  def initialise(key):
    params = model.init(key, jnp.zeros((1, *sides)))['params']
    return params, optimiser.init(params)

  def forward(params, video):
    logits = model.apply({'params': params}, video)
    return logits['label'] if ours else logits

  def step(state, video, labels):
    def loss_of(params):
      logits = forward(params, video).astype(jnp.float32)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean()

    params, opt_state = state
    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, opt_state = optimiser.update(gradient, opt_state, params)
    return loss, (optax.apply_updates(params, updates), opt_state)

  state = jax.eval_shape(initialise, jax.random.key(0))
  video = jax.ShapeDtypeStruct((args.batch, *sides), np.float32)
  labels = jax.ShapeDtypeStruct((args.batch,), np.int32)
  return jax.jit(initialise), {
    'forward': (jax.jit(forward), (state[0], video)),
    'step': (jax.jit(step, donate_argnums=0), (state, video, labels)),
  }


def config(name: str, batch: int, **changes: Any) -> TrainConfig:
  """Returns a config of configs/, changed, for so many clips of each device."""
  given = importlib.import_module(f'configs.{name}').get_config()
  changes['train.batch_size'] = batch * jax.local_device_count()
  given.update_from_flattened_dict(changes)
  return configs.resolve(given)


def config_of(args: argparse.Namespace, **changes: Any) -> TrainConfig:
  """Returns the K400 config of --family, as the other flags change it."""
  clip = {'data.frames': args.frames, 'data.crop': (args.crop, args.crop)}
  clip[f'model.options.{_depth_key(args.family)}'] = args.layers
  model = {'model.size': args.size, 'model.dtype': args.dtype}
  name = train_step.CONFIGS[args.family]
  return config(name, args.batch, **clip | model | changes)


def whole_step(config: TrainConfig) -> tuple[Callable, Callable, Any, Any]:
  """Returns train.py's step and initialisation, and shapes of state and batch.

  The initialisation takes nothing and returns the state of one device; the
  shapes have a leading axis of devices, as the step wants them.
  """
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3, config.model)
  initialise = functools.partial(training.initialise, model, optimiser, config)
  devices, shape = jax.local_device_count(), jax.ShapeDtypeStruct
  state = jax.tree.map(
    lambda x: shape((devices, *x.shape), x.dtype), jax.eval_shape(initialise)
  )
  lead = (devices, config.train.batch_size // devices)
  sides = (config.data.frames, *config.data.crop, 3)
  batch = {
    'video': shape((*lead, *sides), np.uint8),
    'labels': {head: shape(lead, np.int32) for head in config.model.heads},
  }
  if layers := config.augment.randaugment_layers:
    batch['randaugment'] = shape((*lead, layers, 4), np.float32)
  step = training.train_step(model, optimiser, config)
  return step, initialise, state, batch


def running_step(config: TrainConfig) -> tuple[Callable[[], Any], int]:
  """Returns a function that begins a step of train.py, and a device's bytes.

  It transfers a batch each time, and returns the metrics, perhaps not ready.
  """
  step, initialise, _, shapes = whole_step(config)
  state = parallel.replicate(initialise())
  batch = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
  compiled, held = parallel.compiled(step, state, batch)

  def begin():
    nonlocal state
    state, metrics = compiled(state, batch)
    return metrics

  return begin, held

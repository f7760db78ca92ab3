"""Gradient times activation for all families, as a map over the tokens.

HiResCAM (Draelos and Carin, arXiv 2011.08891): the element-wise product of a
layer's output and the logit's gradient, summed over channels. Here, summed over
several layers too: in a model with a class token, the last layer's tokens reach
the logit by attention alone. `Family.cam` names the layers.
"""

import dataclasses
import re
from collections.abc import Callable

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.models import family, stacking
from vivit_jax.models.family import Grid, ModelConfig
from vivit_jax.models.pools import Encoded


def contributions(config: ModelConfig) -> Callable[..., jax.Array]:
  """Returns a function (parameters, videos, frame numbers, classes) -> map.

  The map is float32 [B, t, h, w], on the finest grid of the layers: what each
  token adds to the logit of the class, summed over heads, to first order.
  Arguments are those of `rollout.attention_rollout`, and classes, head -> int
  [B]: indices of logits. Heads left out take their largest logit.

  Raises:
    UserError: a model without a head; or, when called, a family that declares
      no layer that it can use.
  """
  if not config.heads:
    raise UserError('explanation by gradient needs a model with a head.')
  kind = family.get(config.family)
  plain = {'scan': False, 'remat': 'none', 'attention': 'auto'}
  config = dataclasses.replace(config, dtype='float32', **plain)
  model = models.build(config)

  def chosen(offsets, params, video, frame_BxT, classes):
    """Returns the chosen logits' sum, and the layers' outputs plus offsets."""
    outputs = []

    def added(x: jax.Array) -> jax.Array:
      outputs.append(x + offsets[len(outputs)] if offsets else x)
      return outputs[-1]

    def intercept(call, args, kwargs, context):
      y = call(*args, **kwargs)
      if context.method_name != '__call__':
        return y
      if kind.cam:
        name = '/'.join(context.module.path)
        return added(y) if re.fullmatch(kind.cam, name) else y
      if isinstance(y, Encoded) and y.summary is None and y.sequence is None:
        return y.replace(tokens=added(y.tokens))
      return y

    with nn.intercept_methods(intercept):
      logits = model.apply({'params': params}, video, frame_BxT=frame_BxT)
    if not outputs:
      raise UserError(
        f'explanation by gradient is not defined for {kind.name}: Family.cam '
        'must be a pattern of the layers to explain.'
      )
    total = sum(_of_class(x, classes.get(head)) for head, x in logits.items())
    return total, outputs

  def explain(params, video, frame_BxT=None, classes=None):
    numbers = frame_BxT if model.reads_frame_numbers else None
    inputs = stacking.unstack(params), video, numbers, classes or {}
    batch, frames, *crop, _ = video.shape
    clips = config.clips
    grid = kind.grid(config.options, frames // clips, tuple(crop))
    _, shapes = jax.eval_shape(chosen, None, *inputs)
    zeros = [jnp.zeros(x.shape, x.dtype) for x in shapes]
    with jax.default_matmul_precision('highest'):
      slopes, outputs = jax.grad(chosen, has_aux=True)(zeros, *inputs)
    products = [(x * y).sum(axis=-1) for x, y in zip(slopes, outputs)]
    on_grid = kind.cam_map or on_last_tokens
    maps = [on_grid(x, config, batch * clips, grid) for x in products]
    return summed(
      [einops.rearrange(x, '(B c) t h w -> B (c t) h w', c=clips) for x in maps]
    )

  return jax.jit(explain)


def on_last_tokens(
  products: jax.Array, config: ModelConfig, batch: int, grid: Grid
) -> jax.Array:
  """Returns [B, t, h, w]; default of `Family.cam_map`.

  `products` are [B, t', h', w'], returned as they are; or [..., N], sequences
  of class tokens and then patches, ordered (t h w).
  """
  del config
  if products.ndim == 4:
    return products
  sequences = products.size // products.shape[-1]
  patches = batch * int(np.prod(grid)) // sequences
  return products[..., -patches:].reshape(batch, *grid)


def summed(maps: list[jax.Array]) -> jax.Array:
  """Returns the sum of maps [B, t', h', w'] on the finest of their grids.

  Coarser maps are interpolated linearly and divided by the number of cells
  that a token covers: each map keeps its sum.
  """
  finest = tuple(map(max, zip(*(x.shape for x in maps))))
  return sum(
    jax.image.resize(x, finest, 'linear', antialias=False)
    * (x.size / int(np.prod(finest)))
    for x in maps
  )


def _of_class(logits: jax.Array, index_B: jax.Array | None) -> jax.Array:
  """Returns the sum over clips of one logit each, [B, K] -> []."""
  if index_B is None:
    return logits.max(axis=-1).sum()
  return jnp.take_along_axis(logits, index_B[:, None], axis=-1).sum()

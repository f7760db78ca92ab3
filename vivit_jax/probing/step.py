"""The training step and the forward pass of all heads on one encoding."""

from collections.abc import Callable, Mapping
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import parallel
from vivit_jax.config import TrainConfig
from vivit_jax.evaluation import forward, views
from vivit_jax.models import pixels
from vivit_jax.probing.grid import Grid
from vivit_jax.training import inputs
from vivit_jax.training import step as steps

_BYTES_AT_ONCE = 2**28  # of the tokens, once for each head


def encode(
  grid: Grid,
  params: Any,
  video: jax.Array,
  frame_BxT: jax.Array | None,
) -> jax.Array:
  """Returns the tokens [B, N, D] of normalised clips, on a CPU in parts."""
  limit = forward.max_clips(video.shape[1:]) or len(video)

  def apply(video, frame_BxT):
    return {'tokens': grid.encode(params, video, frame_BxT)}

  return views.in_parts(apply, (video, frame_BxT), limit)['tokens']


def frame_numbers(grid: Grid, batch: Mapping[str, Any]) -> Any:
  """Returns the batch's frame numbers if the encoder reads them."""
  reads = grid.encoder.reads_frame_numbers
  return batch['frame_numbers'] if reads else None


def train_step(
  grid: Grid,
  schedule: Callable[[jax.Array], jax.Array],
  class_weights: Mapping[str, np.ndarray],
) -> Callable:
  """Returns (state, batch) -> (state, metrics), mapped over devices.

  Each head takes the step that train.py would take (`training.step.update`):
  it has its own clipped norm, and only its own update is skipped if it is not
  finite. The batch has `encoder` (its parameters) and the arrays of
  `training.step.train_step`; or stored `tokens` [devices, b, N, D] instead of
  the video and the encoder.

  Metrics are the best of all heads, and those of each as '<metric>/<head>'.
  `skipped` is 1 if no head made an update.

  Args:
    grid: the heads.
    schedule: number of updates -> share of a head's learning rate.
    class_weights: see `training.step.train_step`.
  """
  config, sizes = grid.alone, grid.config.model.heads

  def prepare(batch, step):
    if 'tokens' in batch:
      tokens = batch['tokens'].astype(config.model.dtype)
      return inputs.unmixed(
        tokens, batch['labels'], config, sizes, class_weights
      )
    ready = inputs.preprocess(batch, step, config, sizes, class_weights)
    tokens = encode(
      grid, batch['encoder'], ready.video, frame_numbers(grid, batch)
    )
    return ready.replace(video=tokens)

  def step(state, batch):
    ready = prepare(batch, state.step)
    new, metrics = {}, {}
    for pool, model in grid.models.items():

      def update(head, model=model):
        params, opt_state, ema, rate, decay = head
        optimiser = grid.optimiser(rate, decay, schedule)
        old = steps.TrainState(state.step, params, opt_state, ema)
        updated, values = steps.update(
          old, ready, batch, model, optimiser, config
        )
        return (updated.params, updated.opt_state, updated.ema), values

      ema = None if state.ema is None else state.ema[pool]
      of_pool = state.params[pool], state.opt_state[pool], ema
      rates = grid.rates(pool)
      new[pool], metrics[pool] = jax.lax.map(
        update,
        (*of_pool, *rates),
        batch_size=_at_once(grid.configs[pool], ready.video, len(rates[0])),
      )
    params, opt_state, ema = (
      {pool: parts[i] for pool, parts in new.items()} for i in range(3)
    )
    ema = None if state.ema is None else ema
    state = steps.TrainState(state.step + 1, params, opt_state, ema)
    return state, _summarised(grid, metrics)

  return parallel.map_over_devices(step, donate=(0,))


def _at_once(config: TrainConfig, tokens: jax.Array, heads: int) -> int:
  """Returns how many heads of a pool run at once; the others follow.

  Blocks before the pool keep activations of every token in memory for each
  head. Other pools share the tokens.
  """
  if not config.model.attention_pool.blocks:
    return heads
  return max(1, min(heads, _BYTES_AT_ONCE // tokens.nbytes))


def _summarised(grid: Grid, metrics: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a step's metrics: the best of all heads, and those of each."""
  result = {}
  for name in next(iter(metrics.values())):
    value_G = jnp.concatenate([metrics[pool][name] for pool in grid.pools])
    if name == 'gradient_norm':
      continue
    lowest = {'skipped': jnp.min, 'loss': jnp.nanmin}
    result[name] = lowest.get(name, jnp.max)(value_G)
    of_heads = zip(grid.heads, value_G, strict=True)
    result |= {f'{name}/{head.name}': value for head, value in of_heads}
  return result


def every_head(grid: Grid) -> Callable:
  """Returns a function (params, encoder, batch) -> logits [b, G, K] by head.

  As `evaluation.forward.every_view`, of one view of each video, or of stored
  `tokens` [b, N, D]; the encoder's parameters are {} then.
  """

  def apply(params, encoder, video, frame_BxT, tokens):
    if tokens is None:
      clips = pixels.normalise(video, *grid.config.data.pixels)
      tokens = encode(grid, encoder['encoder'], clips, frame_BxT)
    tokens = tokens.astype(grid.config.model.dtype)
    every = [
      jax.lax.map(
        lambda own, model=model: model.apply({'params': own}, tokens),
        params[pool],
      )
      for pool, model in grid.models.items()
    ]
    logits = jax.tree.map(lambda *x: jnp.concatenate(x), *every)
    return {
      head: einops.rearrange(x.astype(jnp.float32), 'G B K -> B G K')
      for head, x in logits.items()
    }

  mapped = parallel.map_over_devices(apply)

  def call(params, encoder, batch):
    if 'tokens' in batch:
      arrays = None, None, batch['tokens']
    else:
      numbers = frame_numbers(grid, batch)
      numbers = None if numbers is None else numbers[:, 0]
      arrays = batch['video'][:, 0], numbers, None
    return parallel.unshard(mapped(params, encoder, *parallel.shard(arrays)))

  return call

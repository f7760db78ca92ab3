"""What a run that has diverged leaves to look at: `diverged.json`."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import parallel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.training import inputs, losses


def gradient_norms(
  model: nn.Module, config: TrainConfig
) -> Callable[[Any, Mapping[str, Any]], dict[str, float]]:
  """Returns (state, batch) -> loss, and the norm of each layer's gradient.

  The state is replicated, as the last step left it, and the batch, sharded, is
  that step's: the step drew its randomness by the state's step less 1. A layer
  is what holds arrays: `.../MultiHeadDotProductAttention_0/query`.
  """

  def norms(state, batch):
    before = state.step - 1
    ready = inputs.prepare(batch, before, config, model.heads)
    place_B = parallel.example_places(ready.video.shape[0])
    network_key = inputs.step_keys(config.train.seed, before)[2]
    multi_label = [h for h, x in batch['labels'].items() if x.ndim == 2]

    def loss_of(params):
      logits = model.apply(
        {'params': params},
        ready.video,
        train=True,
        example_B=place_B,
        rngs={'stochastic_depth': network_key},
      )
      return losses.cross_entropy(logits, ready.targets, multi_label)

    found = jax.value_and_grad(loss_of)(state.params)
    loss, gradient = parallel.mean_over_devices(found)
    squares: dict[str, jax.Array] = {}
    leaves = jax.tree_util.tree_leaves_with_path(stacking.unstack(gradient))
    for path, leaf in leaves:
      layer = '/'.join(str(key.key) for key in path[:-1])
      square = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
      squares[layer] = squares.get(layer, 0.0) + square
    return {'loss': loss} | {k: jnp.sqrt(x) for k, x in squares.items()}

  mapped = parallel.map_over_devices(norms)

  def call(state, batch):
    found = parallel.unreplicate(mapped(state, batch))
    return {key: float(value) for key, value in found.items()}

  return call


def write(
  folder: pathlib.Path,
  *,
  step: int,
  learning_rate: float,
  index: np.ndarray,
  ids: Sequence[str],
  found: Mapping[str, float],
) -> None:
  """Writes `<folder>/diverged.json`.

  Numbers that are not finite stand there as words, 'nan' or 'inf'.

  Args:
    folder: of the run.
    step: the last one.
    learning_rate: of that step.
    index: int [B], the videos of its batch.
    ids: of all videos.
    found: as of `gradient_norms`.

  Raises:
    UserError: the file cannot be written.
  """
  norms = {k: _number(v) for k, v in found.items() if k != 'loss'}
  report = {
    'step': step,
    'learning_rate': learning_rate,
    'loss': _number(found['loss']),
    'videos': [{'index': int(i), 'id': ids[int(i)]} for i in index],
    'gradient_norms': norms,
  }
  path = folder / 'diverged.json'
  try:
    unfinished = path.with_suffix('.part')
    unfinished.write_text(json.dumps(report, indent=2) + '\n')
    os.replace(unfinished, path)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None


def _number(value: float) -> float | str:
  return value if math.isfinite(value) else str(value)

"""What a run that has diverged leaves to look at: `diverged.json`."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import files, parallel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.training import step as steps


def gradient_norms(
  state: Any,
  batch: Mapping[str, Any],
  model: nn.Module,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Returns the loss, and the norm of each layer's gradient.

  A layer is what holds arrays: `.../MultiHeadDotProductAttention_0/query`; an
  array that no layer holds, as `cls`, stands for itself. Frozen ones have 0.

  Args:
    state: replicated, as the last step left it, which it did not change but for
      its number.
    batch: that step's, sharded.
    model, config, class_weights: of the run.
  """

  def norms(state, batch):
    gradient, metrics = steps.gradient_of_step(
      batch, state.step - 1, state.params, model, config, class_weights
    )
    squares = {layer: 0.0 for layer, _ in _by_layer(state.params)}
    for layer, leaf in _by_layer(gradient):
      square = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
      squares[layer] += square
    return {'loss': metrics['loss']} | {
      k: jnp.sqrt(x) for k, x in squares.items()
    }

  found = parallel.unreplicate(parallel.map_over_devices(norms)(state, batch))
  return {key: float(value) for key, value in found.items()}


def _by_layer(tree: Any) -> list[tuple[str, jax.Array]]:
  """Returns the arrays of a tree of parameters with their layers' names."""
  leaves = jax.tree_util.tree_leaves_with_path(stacking.unstack(tree))
  return [
    ('/'.join(str(key.key) for key in path[:-1] or path), leaf)
    for path, leaf in leaves
  ]


def write(
  folder: pathlib.Path,
  step: int,
  learning_rates: tuple[float, float],
  index: np.ndarray,
  ids: Sequence[str],
  found: Mapping[str, float],
) -> None:
  """Writes `<folder>/diverged.json`.

  Numbers that are not finite stand there as words, 'nan' or 'inf'.

  Args:
    folder: of the run.
    step: the last one.
    learning_rates: of that step, and of the last update that was made.
    index: int [B], the videos of its batch.
    ids: their names.
    found: as of `gradient_norms`.

  Raises:
    UserError: the file cannot be written.
  """
  norms = {k: _number(v) for k, v in found.items() if k != 'loss'}
  report = {
    'step': step,
    'learning_rate': _number(learning_rates[0]),
    'learning_rate_of_last_update': _number(learning_rates[1]),
    'loss': _number(found['loss']),
    'videos': [{'index': int(i), 'id': name} for i, name in zip(index, ids)],
    'gradient_norms': norms,
  }
  path = folder / 'diverged.json'
  try:
    with files.replacing(path) as unfinished:
      unfinished.write_text(json.dumps(report, indent=2) + '\n')
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None


def _number(value: float) -> float | str:
  return value if math.isfinite(value) else str(value)

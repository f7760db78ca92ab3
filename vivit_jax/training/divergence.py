"""Diagnosis of a diverged run: gradient norms, written to `diverged.json`."""

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
from vivit_jax.training import inputs
from vivit_jax.training import step as steps


def gradient_norms(
  state: Any,
  batch: Mapping[str, Any],
  model: nn.Module,
  config: TrainConfig,
  class_weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Returns the loss, and the gradient norm of each layer.

  A layer is a module with its own parameters, such as
  `.../MlpBlock_0/Dense_0`, or a parameter without a module, such as `cls`.
  Frozen layers have norm 0.

  Args:
    state: replicated state after a skipped step, which changed only `step`.
    batch: sharded batch of that step.
    model, config, class_weights: see `step.train_step`.
  """

  def norms(state, batch):
    step = state.step - 1
    ready = inputs.preprocess(batch, step, config, model.heads, class_weights)
    gradient, metrics = steps.gradient_of_step(
      ready, batch, step, state.params, model, config
    )
    squares = {layer: 0.0 for layer, _ in _by_layer(state.params)}
    for layer, leaf in _by_layer(gradient):
      squares[layer] += jnp.sum(jnp.square(leaf.astype(jnp.float32)))
    return jax.tree.map(jnp.sqrt, squares) | {'loss': metrics['loss']}

  result = parallel.unreplicate(parallel.map_over_devices(norms)(state, batch))
  return {key: float(value) for key, value in result.items()}


def _by_layer(tree: Any) -> list[tuple[str, jax.Array]]:
  """Returns (layer, array) for each array of a tree of parameters."""
  leaves = jax.tree_util.tree_leaves_with_path(stacking.unstack(tree))
  return [
    ('/'.join(str(key.key) for key in path[:-1] or path), leaf)
    for path, leaf in leaves
  ]


def write_report(
  folder: pathlib.Path,
  step: int,
  learning_rates: tuple[float, float],
  index: np.ndarray,
  ids: Sequence[str],
  norms: Mapping[str, float],
) -> None:
  """Writes `<folder>/diverged.json`; 'nan' and 'inf' are text.

  Args:
    folder, step: the workdir, and the number of the last step.
    learning_rates: that of `step`, and that of the last update made.
    index, ids: of the step's videos in the split.
    norms: from `gradient_norms`.

  Raises:
    UserError: the file cannot be written.
  """
  norms = {k: x if math.isfinite(x) else str(x) for k, x in norms.items()}
  report = {
    'step': step,
    'learning_rate': learning_rates[0],
    'learning_rate_of_last_update': learning_rates[1],
    'loss': norms.pop('loss'),
    'videos': [{'index': int(i), 'id': name} for i, name in zip(index, ids)],
    'gradient_norms': norms,
  }
  path = folder / 'diverged.json'
  try:
    with files.replacing(path) as unfinished:
      unfinished.write_text(json.dumps(report, indent=2) + '\n')
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None

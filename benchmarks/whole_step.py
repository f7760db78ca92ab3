"""The training step that train.py compiles for a config, from shapes alone."""

import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.training import optim, step


def changed(name: str, clips: int, changes: Mapping[str, Any]) -> TrainConfig:
  """Returns a config of configs/ for so many clips of each device.

  Args:
    name: its file's, without the ending.
    clips: of each local device.
    changes: other values by their dotted keys.

  Raises:
    UserError: there is none of that name, or its heads are the dataset's.
  """
  file = pathlib.Path(__file__).parents[1] / 'configs' / f'{name}.py'
  if not file.exists():
    raise UserError(f"--configs: there is no config '{name}' in configs/.")
  config = importlib.import_module(f'configs.{name}').get_config()
  if not config.model.heads:
    raise UserError(f"--configs: {name} has its dataset's heads; name another.")
  batch_size = clips * jax.local_device_count()
  config.update_from_flattened_dict({'train.batch_size': batch_size, **changes})
  return configs.resolve(config)


def of(config: TrainConfig) -> tuple[Callable, Any, dict[str, Any]]:
  """Returns the step, and the shapes of the state and the batch it takes."""
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 0.1, config.model)
  state = jax.eval_shape(lambda: step.initialise(model, optimiser, config))
  devices = jax.local_device_count()
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((devices, *x.shape), x.dtype), state
  )
  return step.train_step(model, optimiser, config), state, _batch(config)


def _batch(config: TrainConfig) -> dict[str, Any]:
  """Returns the shapes of a batch, as `step.train_step` takes it."""
  devices = jax.local_device_count()
  lead = (devices, config.train.batch_size // devices)
  sides = (config.data.frames, *config.data.crop, 3)
  shape = jax.ShapeDtypeStruct
  batch = {
    'video': shape((*lead, *sides), np.uint8),
    'labels': {head: shape(lead, np.int32) for head in config.model.heads},
  }
  layers = config.augment.randaugment_layers
  if layers:
    batch['randaugment'] = shape((*lead, layers, 4), np.float32)
  return batch

"""What a run is made of, in a few lines at its start, and its MFU."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.config import TrainConfig
from vivit_jax.models import arithmetic


def forward_operations(model: nn.Module, config: TrainConfig) -> int:
  """Returns the operations of one clip's forward pass: 2 a multiply-add."""
  sides = (1, config.data.frames, *config.data.crop, 3)
  clip = jax.ShapeDtypeStruct(sides, jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
  return 2 * arithmetic.multiply_adds(model.apply, shapes, clip)


def utilisation(
  operations: int, clips_per_second: float, devices: int
) -> float | None:
  """Returns the model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B).

  A training step counts as three forward passes, whatever is computed again;
  the peak is that of bfloat16.

  Args:
    operations: of one clip's forward pass.
    clips_per_second: of the training, over all devices.
    devices: how many there are.

  Returns:
    A fraction; None for a device whose peak is not known.
  """
  peak = arithmetic.peak_operations(jax.local_devices()[0])
  if peak is None:
    return None
  return 3 * operations * clips_per_second / (peak * devices)


def describe(params: Any, operations: int, config: TrainConfig) -> str:
  """Returns a line on the model and a line on the machine.

  Args:
    params: the model's.
    operations: of one clip's forward pass.
    config: the experiment.
  """
  count = sum(x.size for x in jax.tree.leaves(params))
  devices = jax.devices()
  kind = f'{len(devices)} x {devices[0].device_kind}'
  return (
    f'{config.model.family} {config.model.size}: {count:,} parameters, '
    f'{operations / 2e9:.4g} GFLOPs a clip (multiply-adds)\n'
    f'{kind}, {config.train.batch_size} clips a step, '
    f'computed in {config.model.dtype}'
  )


def peak_memory() -> float | None:
  """Returns the most bytes that the first device has held; None if unknown."""
  statistics = jax.local_devices()[0].memory_stats() or {}
  return statistics.get('peak_bytes_in_use')

"""What a run is made of, in a few lines at its start, and its MFU."""

import jax

from vivit_jax.config import TrainConfig
from vivit_jax.models import arithmetic
from vivit_jax.training.step import TrainState


def forward_operations(config: TrainConfig) -> int:
  """Returns the operations of one clip's forward pass: 2 a multiply-add."""
  data = config.data
  return 2 * arithmetic.forward_multiply_adds(
    config.model, data.frames, data.crop
  )


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
  peak = arithmetic.peak_operations(jax.local_devices()[0].device_kind)
  if peak is None:
    return None
  return 3 * operations * clips_per_second / (peak * devices)


def describe(state: TrainState, operations: int, config: TrainConfig) -> str:
  """Returns a line each on the model, the machine and the memory of the state.

  Args:
    state: of the training.
    operations: of one clip's forward pass.
    config: the experiment.
  """
  count = sum(x.size for x in jax.tree.leaves(state.params))
  devices = jax.devices()
  kind = f'{len(devices)} x {devices[0].device_kind}'
  peak = arithmetic.peak_operations(jax.local_devices()[0].device_kind)
  peak = 'unknown' if peak is None else f'{peak / 1e12:.4g} TFLOPS'
  held = {
    'parameters': state.params,
    'optimiser': state.opt_state,
    'averaged weights': state.ema,
  }
  memory = ', '.join(
    f'{name} {_megabytes(sum(x.nbytes for x in jax.tree.leaves(tree)))}'
    for name, tree in held.items()
    if tree is not None
  )
  return (
    f'{config.model.family} {config.model.size}: {count:,} parameters, '
    f'{operations / 2e9:.4g} GFLOPs a clip (multiply-adds)\n'
    f'{kind}, {config.train.batch_size} clips a step, '
    f'computed in {config.model.dtype}; the peak of one, for MFU, is {peak}\n'
    f'memory of each device: {memory}'
  )


def describe_step(held: int | None) -> str | None:
  """Returns a line on the memory of a step; None where nothing tells it.

  Args:
    held: bytes on each device, by XLA; None for the most that the first device
      has held so far.
  """
  if held is not None:
    return f'memory of each device in a step: {_megabytes(held)}, by XLA'
  if (held := peak_memory()) is not None:
    return f'memory of the first device in a step: {_megabytes(held)}'
  return None


def _megabytes(count: float) -> str:
  return f'{count / 1e6:,.1f} MB'


def peak_memory() -> float | None:
  """Returns the most bytes that the first device has held; None if unknown."""
  statistics = jax.local_devices()[0].memory_stats() or {}
  return statistics.get('peak_bytes_in_use')

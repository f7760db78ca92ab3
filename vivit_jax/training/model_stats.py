"""FLOPs, utilisation and memory of a training run."""

from typing import Any

import jax

from vivit_jax.config import TrainConfig
from vivit_jax.models import arithmetic


def forward_operations(config: TrainConfig) -> int:
  """Returns the FLOPs of a clip's forward pass, 2 per multiply-add."""
  data = config.data
  return 2 * arithmetic.forward_multiply_adds(
    config.model, data.frames, data.crop
  )


def utilisation(
  operations: int, clips_per_second: float, devices: int
) -> float | None:
  """Returns model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B).

  A training step counts as three forward passes, without recomputation; the
  peak is that of bfloat16.

  Args:
    operations: FLOPs of a clip's forward pass.
    clips_per_second: training speed of all devices together.
    devices: number of devices.

  Returns:
    A fraction; None for a device whose peak is unknown.
  """
  peak = peak_operations()
  if peak is None:
    return None
  return 3 * operations * clips_per_second / (peak * devices)


def peak_operations() -> float | None:
  """Returns a device's peak FLOPs per second; None if unknown."""
  return arithmetic.peak_operations(jax.local_devices()[0].device_kind)


def nbytes(tree: Any) -> int:
  """Returns the bytes of a tree of arrays."""
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def peak_memory() -> float | None:
  """Returns the peak bytes used on the first device; None if unknown."""
  statistics = jax.local_devices()[0].memory_stats() or {}
  return statistics.get('peak_bytes_in_use')


def describe_step(needed: int | None) -> str | None:
  """Returns a line about the memory that a step needs; None if unknown.

  Args:
    needed: bytes per device, from XLA; None to report the peak so far instead.
  """
  if needed is not None:
    return f'memory of each device in a step: {megabytes(needed)} (by XLA)'
  if (peak := peak_memory()) is not None:
    return f'peak memory of the first device: {megabytes(peak)}'
  return None


def megabytes(count: float) -> str:
  """Returns a number of bytes as text, in units of 10^6."""
  return f'{count / 1e6:,.1f} MB'

"""FLOPs, utilisation and memory of a training run."""

import jax

from vivit_jax.config import TrainConfig
from vivit_jax.models import arithmetic


def forward_operations(config: TrainConfig) -> int:
  """Returns the FLOPs of a clip's forward pass, 2 per multiply-add."""
  clip = config.data.frames, config.data.crop
  return 2 * arithmetic.forward_multiply_adds(config.model, *clip)


def utilisation(
  operations: int, clips_per_second: float, devices: int
) -> float | None:
  """Returns model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B).

  A training step counts as three forward passes of `operations` FLOPs a clip,
  without recomputation; the peak is that of bfloat16. None if it is unknown, or
  if there are no such FLOPs.
  """
  peak = peak_operations()
  if peak is None or not operations:
    return None
  return 3 * operations * clips_per_second / (peak * devices)


def peak_operations() -> float | None:
  """Returns a device's peak FLOPs per second; None if unknown."""
  return arithmetic.peak_operations(jax.local_devices()[0].device_kind)


def peak_memory() -> float | None:
  """Returns the peak bytes used on the first device; None if unknown."""
  statistics = jax.local_devices()[0].memory_stats() or {}
  return statistics.get('peak_bytes_in_use')


def describe_step(needed: int | None) -> str | None:
  """Returns a line about a step's memory: `needed`, else the peak so far.

  None if both are unknown.
  """
  if needed is not None:
    return f'memory of each device in a step: {megabytes(needed)} (by XLA)'
  if (peak := peak_memory()) is not None:
    return f'peak memory of the first device: {megabytes(peak)}'
  return None


def megabytes(count: float) -> str:
  """Returns a number of bytes as text, in units of 10^6."""
  return f'{count / 1e6:,.1f} MB'

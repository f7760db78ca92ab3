"""Seconds per step: waiting for input, for the device, and the rest."""

import contextlib
import time
from collections.abc import Iterator, Mapping

_STEP_PARTS = ('input', 'device', 'host')


def step_seconds(report: Mapping[str, float]) -> float:
  """Returns seconds per step without compilation, validation, checkpoints."""
  return sum(report.get(f'seconds/{part}', 0.0) for part in _STEP_PARTS)


class StepTimer:
  """Measures named parts of the time between reports; the rest is 'host'."""

  def __init__(self):
    self._start = time.monotonic()
    self._parts: dict[str, float] = {}

  @contextlib.contextmanager
  def measure(self, part: str) -> Iterator[None]:
    """Adds the time spent in this context to a part, even after an error."""
    start = time.monotonic()
    try:
      yield
    finally:
      passed = time.monotonic() - start
      self._parts[part] = self._parts.get(part, 0.0) + passed

  def report(self, steps: int) -> dict[str, float]:
    """Returns 'seconds/<part>' of each of `steps`, and resets the timer."""
    now = time.monotonic()
    rest = now - self._start - sum(self._parts.values())
    seconds = self._parts | {'host': max(rest, 0.0)}
    self._start, self._parts = now, {}
    return {f'seconds/{part}': s / max(steps, 1) for part, s in seconds.items()}

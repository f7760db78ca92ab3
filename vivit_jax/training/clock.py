"""Where a step's time goes: waiting for input, for the device, or the host."""

import contextlib
import time
from collections.abc import Iterator, Mapping

_TRAINING = ('input', 'device', 'host')  # parts of steps themselves


def step_seconds(report: Mapping[str, float]) -> float:
  """Returns what a step takes, validation and checkpoints left out.

  Args:
    report: of a `Clock`.
  """
  return sum(report.get(f'seconds/{part}', 0.0) for part in _TRAINING)


class Clock:
  """Sums the time of named parts since the last report; the rest is 'host'."""

  def __init__(self):
    self._begin = time.monotonic()
    self._parts: dict[str, float] = {}

  @contextlib.contextmanager
  def measure(self, part: str) -> Iterator[None]:
    """Counts the time that passes in this context as that of a part."""
    begin = time.monotonic()
    try:
      yield
    finally:
      passed = time.monotonic() - begin
      self._parts[part] = self._parts.get(part, 0.0) + passed

  def report(self, steps: int) -> dict[str, float]:
    """Returns seconds a step, as 'seconds/<part>', and begins anew.

    Args:
      steps: since the last report.
    """
    now = time.monotonic()
    rest = now - self._begin - sum(self._parts.values())
    seconds = self._parts | {'host': max(rest, 0.0)}
    self._begin, self._parts = now, {}
    return {f'seconds/{part}': s / max(steps, 1) for part, s in seconds.items()}

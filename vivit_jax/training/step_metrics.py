"""Metrics of the training steps since the last report."""

from collections.abc import Iterable, Mapping

import jax
import numpy as np

from vivit_jax import parallel

_SKIPPED = 'skipped'  # metric: 1 if the step's update was skipped, else 0


class StepMetrics:
  """Collects the metrics of steps, and averages them for a report.

  Steps run asynchronously: values are read from the devices as late as
  possible. A step whose metric `skipped` is above 0 was not finite and changed
  nothing; it is counted, and left out of the means.

  Args:
    rows: unreported metrics of each step, from the checkpoint (see `rows`).
    consecutive_skips: the attribute's value when the checkpoint was saved.

  Attributes:
    consecutive_skips: number of skipped steps since the last update.
    updates: number of finished steps since construction, without skipped ones.
  """

  def __init__(
    self, rows: Iterable[Mapping[str, float]] = (), consecutive_skips: int = 0
  ):
    self.consecutive_skips = consecutive_skips
    self.updates = 0
    self._rows = [dict(row) for row in rows]
    self._pending: list[Mapping[str, jax.Array]] = []  # not read yet
    self._finished = 0  # number of pending steps that were waited for

  def add(self, metrics: Mapping[str, jax.Array]) -> None:
    """Adds a step's metrics, [devices] each, which may still be computing."""
    self._pending.append(metrics)

  def wait(self, in_flight: int = 0) -> None:
    """Waits for all steps except the last `in_flight`; counts skipped ones."""
    for metrics in self._pending[
      self._finished : len(self._pending) - in_flight
    ]:
      jax.block_until_ready(metrics)
      skipped = metrics.get(_SKIPPED)
      skipped = skipped is not None and parallel.unreplicate(skipped) > 0
      self.consecutive_skips = self.consecutive_skips + 1 if skipped else 0
      self.updates += not skipped
      self._finished += 1

  def rows(self, in_flight: int = 0) -> list[dict[str, float]]:
    """Returns the metrics of each step since the last `report`.

    Args:
      in_flight: number of latest steps, which are neither read nor waited for.
    """
    self.wait(in_flight)
    ready = max(len(self._pending) - in_flight, 0)
    for metrics in self._pending[:ready]:
      row = parallel.unreplicate(dict(metrics))
      self._rows.append({key: float(value) for key, value in row.items()})
    self._pending = self._pending[ready:]
    self._finished -= ready
    return [dict(row) for row in self._rows]

  def report(self, in_flight: int = 0) -> dict[str, float]:
    """Returns the means since the last report, and starts a new period.

    `skipped_steps` counts the steps left out of the means. If all were skipped,
    there are no means but those of 'skipped/...', which are of all steps.

    Args:
      in_flight: number of latest steps, which belong to the new period.
    """
    rows, self._rows = self.rows(in_flight), []
    kept = [row for row in rows if not row.get(_SKIPPED)]
    means = {}
    for key in rows[0] if rows else ():
      of_parts = key.startswith(f'{_SKIPPED}/')
      values = [row[key] for row in (rows if of_parts else kept)]
      if values and key != _SKIPPED:
        # In float32, as the steps computed them.
        means[key] = float(np.mean(np.array(values, np.float32)))
    return means | {'skipped_steps': float(len(rows) - len(kept))}

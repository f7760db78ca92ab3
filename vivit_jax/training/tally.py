"""Metrics of the steps since the last line of a run's metrics."""

from collections.abc import Iterable, Mapping

import jax
import numpy as np

from vivit_jax import parallel

_SKIPPED = 'skipped'  # 1 of a step whose update was not made, else 0


class Tally:
  """Collects what steps give, and reads it from the devices when it must.

  A step with the metric `skipped` above 0 was not finite and changed nothing:
  it is counted, and is no part of any mean.

  Args:
    rows: of steps before, read, as a checkpoint keeps them (`rows`).
    in_a_row: how many of the last steps before were skipped.

  Attributes:
    in_a_row: how many of the last steps that are looked at were skipped.
    updates: how many of the steps that are looked at were not.
  """

  def __init__(
    self, rows: Iterable[Mapping[str, float]] = (), in_a_row: int = 0
  ):
    self.in_a_row = in_a_row
    self.updates = 0
    self._rows = [dict(row) for row in rows]
    self._waiting: list[Mapping[str, jax.Array]] = []
    self._seen = 0  # of those waiting, how many are looked at

  def add(self, metrics: Mapping[str, jax.Array]) -> None:
    """Takes the metrics of the next step, [devices] each, maybe not ready."""
    self._waiting.append(metrics)

  def look(self, ahead: int = 0) -> None:
    """Waits for all steps but the last `ahead`, and counts skipped ones."""
    for metrics in self._waiting[self._seen : len(self._waiting) - ahead]:
      jax.block_until_ready(metrics)
      skipped = metrics.get(_SKIPPED)
      skipped = skipped is not None and parallel.unreplicate(skipped) > 0
      self.in_a_row = self.in_a_row + 1 if skipped else 0
      self.updates += not skipped
      self._seen += 1

  def rows(self, ahead: int = 0) -> list[dict[str, float]]:
    """Returns the metrics of each step since the last `report`, read.

    Args:
      ahead: of the last steps, how many are neither read nor waited for.
    """
    self.look(ahead)
    ready = max(len(self._waiting) - ahead, 0)
    for metrics in self._waiting[:ready]:
      row = parallel.unreplicate(dict(metrics))
      self._rows.append({key: float(value) for key, value in row.items()})
    self._waiting = self._waiting[ready:]
    self._seen -= ready
    return [dict(row) for row in self._rows]

  def report(self, ahead: int = 0) -> dict[str, float]:
    """Returns means over the steps, and begins anew with the last `ahead`.

    `skipped_steps` counts those that are no part of the means; where they are
    all, there are no means.
    """
    rows, self._rows = self.rows(ahead), []
    kept = [row for row in rows if not row.get(_SKIPPED)]
    # In float32, as the steps gave them.
    means = {
      key: float(np.mean(np.array([row[key] for row in kept], np.float32)))
      for key in (kept[0] if kept else ())
      if key != _SKIPPED
    }
    return means | {'skipped_steps': float(len(rows) - len(kept))}

"""A profiler trace of a few steps, for TensorBoard or Perfetto."""

import pathlib
from typing import Any

import jax


class Trace:
  """Traces steps `first` to `first + steps - 1`; nothing if `first` is 0.

  Args:
    folder: folder for the trace.
    first, steps: number of the first traced step, from 1, and of such steps.
    begin, end: the step that training resumes from, or 0, and its last one.
  """

  def __init__(
    self, folder: pathlib.Path, first: int, steps: int, begin: int, end: int
  ):
    last = first + steps - 1 if first else 0
    self._folder = folder
    self._first, self._last = max(first, begin + 1), min(last, end)
    self._traced = None  # the last traced step
    if first and self._first > self._last:
      print(f'steps {first} to {last}, to be traced, are not made', flush=True)

  def before(self, step: int, state: Any) -> None:
    """Starts the trace if `step`, the next one, is the first to be traced.

    The state of the previous steps is waited for, so that none is in the trace.
    """
    if step == self._first and step <= self._last:
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._traced = step - 1

  def after(self, step: int, state: Any) -> None:
    """Ends the trace if `step`, just dispatched, is the last to be traced.

    Its state is waited for, so that the whole step is in the trace.
    """
    if self._traced is not None:
      self._traced = step
      if step == self._last:
        jax.block_until_ready(state)
        self.close()

  def close(self) -> None:
    """Ends a running trace, without waiting for the step in flight."""
    if self._traced is None:
      return
    last, self._traced = self._traced, None
    jax.profiler.stop_trace()
    print(
      f'\nthe trace of steps {self._first} to {last} is in {self._folder}',
      flush=True,
    )

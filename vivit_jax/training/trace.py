"""A profiler trace of a few steps, for TensorBoard or Perfetto."""

import pathlib
from typing import Any

import jax


class Trace:
  """Traces steps `first` to `first + steps - 1`; nothing if `first` is 0.

  If training makes none of these steps, a line says why.

  Args:
    folder: folder for the trace.
    first: number of the first traced step, from 1.
    steps: number of steps to trace.
    begin: the step that training resumes from, or 0.
    end: the last step of training.
  """

  def __init__(
    self, folder: pathlib.Path, first: int, steps: int, begin: int, end: int
  ):
    last = first + steps - 1
    self._folder = folder
    self._first, self._last = max(first, begin + 1), min(last, end)
    self._traced = None  # the last traced step
    if not first:
      self._last = 0
    elif self._first > self._last:
      why = (
        f'training ends at step {end}'
        if first > end
        else f'training resumes from step {begin}'
      )
      print(f'no trace of steps {first} to {last}: {why}', flush=True)

  def before(self, step: int, state: Any) -> None:
    """Starts the trace if `step` is the first to be traced.

    Args:
      step: number of the next step.
      state: result of the previous steps. It is waited for, so that none of
        them is in the trace.
    """
    if step == self._first and step <= self._last:
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._traced = step - 1

  def after(self, step: int, state: Any) -> None:
    """Ends the trace if `step` is the last to be traced.

    Args:
      step: number of the step just dispatched.
      state: its result. It is waited for, so that the whole step is in the
        trace.
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

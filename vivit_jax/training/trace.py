"""A profiler's trace of some steps, for TensorBoard or Perfetto."""

import pathlib
from typing import Any

import jax


class Trace:
  """Traces the steps from `first` on, `steps` of them; none where it is 0.

  Of those steps, the ones that this process makes; where there are none, it
  says so.

  Args:
    folder: gets the trace.
    first: number of the first traced step.
    steps: how many.
    begin: the last step that was made before.
    end: the last step of the training.
  """

  def __init__(
    self, folder: pathlib.Path, first: int, steps: int, begin: int, end: int
  ):
    last = first + steps - 1
    self._folder = folder
    self._first, self._last = max(first, begin + 1), min(last, end)
    self._done = None  # the last traced step
    if not first:
      self._last = 0
    elif self._first > self._last:
      why = (
        f'training ends at step {end}'
        if first > end
        else f'training goes on from step {begin}'
      )
      print(f'no trace of steps {first} to {last}: {why}', flush=True)

  def before(self, step: int, state: Any) -> None:
    """Begins the trace if a step is the first to be traced.

    Args:
      step: is about to be made.
      state: what the steps before give, maybe not ready. It is waited for, so
        that none of them is in the trace.
    """
    if step == self._first and step <= self._last:
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._done = step - 1

  def after(self, step: int, state: Any) -> None:
    """Ends the trace if a step was the last one to be traced.

    Args:
      step: has just been made.
      state: what it gives, maybe not ready. It is waited for, so that all of
        the step is in the trace.
    """
    if self._done is not None:
      self._done = step
      if step == self._last:
        jax.block_until_ready(state)
        self.close()

  def close(self) -> None:
    """Ends the trace if it runs; what is not computed yet is not in it."""
    if self._done is None:
      return
    done, self._done = self._done, None
    jax.profiler.stop_trace()
    print(
      f'\nthe trace of steps {self._first} to {done} is in {self._folder}',
      flush=True,
    )

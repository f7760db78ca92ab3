"""A profiler's trace of some steps, for TensorBoard or Perfetto."""

import pathlib

import jax


class Trace:
  """Traces the steps from `first` on, `steps` of them; none where it is 0.

  Args:
    folder: gets the trace.
    first: number of the first traced step.
    steps: how many.
  """

  def __init__(self, folder: pathlib.Path, first: int, steps: int):
    self._folder, self._first, self._last = folder, first, first + steps - 1
    self._running = False

  def before(self, step: int) -> None:
    """Begins the trace if a step is the first to be traced."""
    if self._first and step == self._first:
      jax.profiler.start_trace(str(self._folder))
      self._running = True

  def after(self, step: int) -> None:
    """Ends the trace, when a step that is done was the last one of it."""
    if self._running and step >= self._last:
      self.close()

  def close(self) -> None:
    """Ends the trace if it runs."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      print(
        f'\nthe trace of steps {self._first} to {self._last} is in '
        f'{self._folder}',
        flush=True,
      )

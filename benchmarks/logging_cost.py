"""What logging costs, as a share of the step's time.

  python -m benchmarks.logging_cost

Three runs of one model, in one process, take turns of some steps each: one
writes its metrics after every step, one after so many as by default
(`train.log_every`), and the baseline never. They write what any run writes:
lines to the terminal (here to stderr), `metrics.jsonl` and TensorBoard. The
model is small, so that its steps are short: what logging costs a step is the
same for a large one, and a smaller share. All get the same batch, at once, so
that no input is waited for; a turn ends when its last step is computed.

A turn's time differs by more than logging costs by default. So the goal is of
what a line after every step costs, divided by the steps between two lines; it
is reached or missed where both quartiles say so.
"""

import argparse
import contextlib
import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.flags import at_least
from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax.config import RunConfig, TrainConfig
from vivit_jax.data import pipeline, prepare
from vivit_jax.errors import exit_on_interrupt, exit_on_user_error
from vivit_jax.training import experiment, loop

GOAL = 0.01  # of the step's time, at the default
DEFAULT = RunConfig().log_every
_NEVER = None
_COUNTS = {'train': 48, 'validation': 16, 'test': 16}  # videos: none is read
_WARM_TURNS = 2
_WHY = (
  'At the default, logging costs less than turns differ by; so a line after '
  f'every step is measured, and the last line is its share, by {DEFAULT}.'
)


def experiment_config(
  data_dir: str, batch_size: int, layers: int
) -> TrainConfig:
  """Returns the demo's experiment with a small model, without validation."""
  config = moving_shapes_ti8x2_fe.get_config()
  config.data.data_dir = data_dir
  options = config.model.options
  options.spatial_layers = options.temporal_layers = layers
  config.train.batch_size = batch_size
  config.train.epochs = 1e5  # it never ends
  config.train.validate_every = 0
  return configs.resolve(config)


class Runner:
  """A run that makes some steps when it is told to.

  Args:
    config: of the run.
    every: steps from one line of metrics to the next; None for never.
    folder: gets a workdir of its own.
    stack: closes what this opens.

  Attributes:
    seconds: of a step, in each turn.
  """

  def __init__(
    self,
    config: TrainConfig,
    every: int | None,
    folder: pathlib.Path,
    stack: contextlib.ExitStack,
  ):
    self._every, self._number = every, 0
    self.seconds: list[float] = []
    workdir = folder / f'every {every}'
    workdir.mkdir()
    trained, state = experiment.plan(config, workdir)
    about = trained.about
    with mock.patch.object(pipeline, 'train_batches', _one_batch_again):
      self._run = loop._Run(trained, state, about, workdir, None, stack)

  def turn(self, steps: int) -> None:
    """Makes steps as `loop.train` does, and waits for them."""
    begin = time.perf_counter()
    for _ in range(steps):
      self._number += 1
      self._run.make(self._number)
      # In the middle of a turn, as in training: at its end, the report would be
      # written while no step computes.
      if loop.is_due(self._number + steps // 2, self._every, last=0):
        self._run.report(self._number)
    self._run._finish_steps()
    self.seconds.append((time.perf_counter() - begin) / steps)


def _one_batch_again(
  split: Any, data: Any, *, batch_size: int, **others: Any
) -> Iterator[Mapping[str, Any]]:
  """Yields one batch for ever, in the place of `pipeline.train_batches`."""
  del others
  draw = np.random.default_rng(0)
  shape = (batch_size, data.frames, *data.crop, 3)
  labels = [split.labels_of(0) for _ in range(batch_size)]
  batch = {
    'video': draw.integers(0, 256, shape).astype(np.uint8),
    'labels': {h: np.stack([x[h] for x in labels]) for h in labels[0]},
    'index': np.zeros(batch_size, int),
    'unreadable': np.full(batch_size, -1),
  }
  yield from itertools.repeat(batch)


def measure(
  config: TrainConfig, everies: Sequence[int | None], steps: int, turns: int
) -> dict[int | None, list[float]]:
  """Returns seconds of a step, in each turn of each run.

  Args:
    config: of all runs.
    everies: steps between two lines, of each run; None for never.
    steps: of a turn.
    turns: of each run; some before them are not counted.
  """
  with (
    contextlib.ExitStack() as stack,
    tempfile.TemporaryDirectory() as folder,
    contextlib.redirect_stdout(sys.stderr),
  ):
    runners = {
      every: Runner(config, every, pathlib.Path(folder), stack)
      for every in everies
    }
    for turn in range(_WARM_TURNS + turns):
      order = list(runners.values())
      for runner in order if turn % 2 else order[::-1]:
        runner.turn(steps)
    # Before the folder goes, which they write to.
    stack.close()
  return {e: runner.seconds[_WARM_TURNS:] for e, runner in runners.items()}


def shares(
  seconds: Sequence[float], baseline: Sequence[float]
) -> tuple[float, float, float]:
  """Returns the median of the turns' added shares, and its quartiles.

  Args:
    seconds: of a step, in each turn, with logging.
    baseline: the same without, in the turns beside them.
  """
  added = [one / without - 1 for one, without in zip(seconds, baseline)]
  lower, median, upper = statistics.quantiles(added, n=4, method='inclusive')
  return median, lower, upper


def table(seconds: Mapping[int | None, Sequence[float]]) -> Iterator[str]:
  """Yields lines of Markdown.

  Args:
    seconds: of a step in each turn, by the steps between two lines: 1,
      `DEFAULT` and None.
  """
  yield '| a line every | ms a step | share (quartiles of the turns) | goal |'
  yield '|---|---|---|---|'
  for every, turns in seconds.items():
    told = 'never' if every is _NEVER else f'{every} steps'
    told = {1: 'step', DEFAULT: f'{DEFAULT} steps, the default'}.get(
      every, told
    )
    cell = ''
    if every is not _NEVER:
      cell = _cell(*shares(turns, seconds[_NEVER]))
    yield f'| {told} | {1e3 * statistics.median(turns):.2f} | {cell} |  |'
  by_lines = [x / DEFAULT for x in shares(seconds[1], seconds[_NEVER])]
  _, lower, upper = by_lines
  reached = 'missed' if lower >= GOAL else 'not told apart'
  goal = f'< {GOAL:.0%}: {"reached" if upper < GOAL else reached}'
  yield f'| the first, by {DEFAULT} |  | {_cell(*by_lines)} | {goal} |'


def _cell(median: float, lower: float, upper: float) -> str:
  return f'{median:.2%} ({lower:.2%} to {upper:.2%})'


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.logging_cost',
    description='Compares steps with metrics written often, and never.',
  )
  add = parser.add_argument
  add('--batch_size', type=at_least(1), default=2, help='clips of a step (2)')
  add('--layers', type=at_least(1), default=1, help='of each encoder (1)')
  add(
    '--steps', type=at_least(1), default=DEFAULT, help=f'of a turn ({DEFAULT})'
  )
  add('--turns', type=at_least(2), default=40, help='of each run (40)')
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    with contextlib.redirect_stdout(sys.stderr):
      prepare.prepare_embedded(folder, counts=_COUNTS, workers=1)
    config = experiment_config(folder, flags.batch_size, flags.layers)
    found = measure(config, (1, DEFAULT, _NEVER), flags.steps, flags.turns)
  print('\n'.join(table(found)))
  print(f'\n{_WHY}')
  return 0


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

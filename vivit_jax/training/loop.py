"""The trainer: restore, then step, report, validate and save, to the end."""

import contextlib
import dataclasses
import fractions
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import distributed, parallel, peers
from vivit_jax.checkpoints import workdir
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.data import pipeline
from vivit_jax.training import (
  checks,
  diverged,
  experiment,
  inputs,
  optim,
  size,
  step,
  stopping,
)
from vivit_jax.training.clock import Clock, step_seconds
from vivit_jax.training.experiment import Experiment
from vivit_jax.training.progress import Progress
from vivit_jax.training.tally import Tally
from vivit_jax.training.trace import Trace


def train(config: TrainConfig, folder: str | os.PathLike) -> int:
  """Trains, or goes on with, the experiment in a workdir.

  Order of restoration: the last checkpoint of this workdir, else the weights of
  `init_from`, else random parameters from the seed. The embedded dataset is
  written if it is absent. An epoch is every video of the split once; a step
  takes `batch_size` clips, `repeats` of each of its videos.

  Returns:
    The process's exit code: 0, `INTERRUPTED` after Ctrl-C, or `TERMINATED`
    after SIGTERM.

  Raises:
    UserError: a config that does not fit the dataset, devices or workdir;
      files that cannot be written; training that has diverged.
  """
  trained, state = experiment.plan(config, folder)
  with contextlib.ExitStack() as stack:
    signalled = stack.enter_context(stopping.signals())
    # After all that can be wrong.
    folder, store = _claim(trained.config, folder, stack)
    state, there = _restore(store, state, trained.about)
    run = _Run(trained, state, there, folder, store, stack)
    del state  # the run has its own, on every device
    stops = stopping.agreement()
    due = functools.partial(is_due, last=trained.steps)
    for number in range(run.first + 1, trained.steps + 1):
      run.make(number)
      stop = stops(signalled())  # once: it may come at any moment
      if due(number, config.train.log_every):
        run.report(number)
      scores = None
      if due(number, trained.validation_period):
        scores = run.validate(number)
      if scores or stop or due(number, config.train.checkpoint_every):
        run.save(number, scores)
      if stop and number < trained.steps:
        run.stop(number)
        return stopping.exit_code(stop)
  return 0


def _claim(
  config: TrainConfig, folder: str | os.PathLike, stack: contextlib.ExitStack
) -> tuple[pathlib.Path, Store | None]:
  """Opens the workdir, which process 0 alone reads and writes."""
  if not distributed.first():
    return pathlib.Path(folder), None
  folder = stack.enter_context(workdir.claimed(folder, config))
  store = Store(folder, keep=config.train.keep_checkpoints)
  return folder, stack.enter_context(store)


def _restore(
  store: Store | None, state: step.TrainState, about: Description
) -> tuple[step.TrainState, Description]:
  """Returns what the last checkpoint holds, else what is given, to all."""
  found = store.restore_last(state) if store else None
  state, there = found or (state, about)
  if distributed.several():
    # What takes long is done. The first collective gives up on who is late.
    peers.wait_for_all('training')
    jax.block_until_ready(parallel.most_anywhere(0))
  state, skipped = distributed.from_first((state, there.skipped))
  return state, dataclasses.replace(there, skipped=int(skipped))


def is_due(
  number: int, every: int | fractions.Fraction | None, last: int
) -> bool:
  """Returns whether a step completes every so many, or is the last one.

  Args:
    number: of the step, from 1.
    every: steps, maybe no whole number; None for never.
    last: number of the last step.
  """
  if every is None:
    return False
  return number // every > (number - 1) // every or number == last


class _Run:
  """A run in its workdir: the actions that training is made of.

  Args:
    trained: what it trains.
    state: to go on from.
    there: what a checkpoint says of the steps before.
    folder: the workdir.
    store: its checkpoints; None but in process 0.
    stack: closes what this opens.

  Attributes:
    first: the last step that was made before.
  """

  def __init__(
    self,
    trained: Experiment,
    state: step.TrainState,
    there: Description,
    folder: pathlib.Path,
    store: Store | None,
    stack: contextlib.ExitStack,
  ):
    self._trained, self._folder, self._store = trained, folder, store
    self._tally = Tally(there.unlogged, there.skipped)
    self.first = self._reported = int(state.step)
    self._updates = int(optim.updates_made(state.opt_state))  # before
    # Known beforehand: to compute one would be to wait for the step in flight.
    self._rate_after = optim.rates(trained.rate, trained.steps)
    # Of the report that is not written yet: its step, and where time went.
    self._due: tuple[int, dict[str, float]] | None = None
    self._begins = True  # no report was written
    self._progress = None
    if distributed.first():
      self._progress = self._begin(state)
      stack.callback(self._progress.close)
    self._state = parallel.replicate(state)
    config, source = trained.config, trained.source
    self._update = step.train_step(
      trained.model, trained.optimiser, config, trained.class_weights
    )
    self._batches = pipeline.train_batches(
      source,
      config.data,
      augment=config.augment,
      seed=config.train.seed,
      batch_size=config.train.batch_size,
      first_step=self.first,
      process=jax.process_index(),
      processes=jax.process_count(),
    )
    stack.enter_context(contextlib.closing(self._batches))
    self._unreadable = checks.Unreadable(source, config.data.max_unreadable)
    self._clock = Clock()
    self._trace = Trace(
      folder / 'profile',
      config.train.profile_first if distributed.first() else 0,
      config.train.profile_steps,
      begin=self.first,
      end=trained.steps,
    )
    stack.callback(self._trace.close)

  def _begin(self, state: step.TrainState) -> Progress:
    """Says what is trained, from where, and opens the metrics."""
    trained, config = self._trained, self._trained.config
    if self.first:
      begins = self.first < trained.steps
      what = 'going on from' if begins else 'training ended at'
      where = f'step {self.first} of {trained.steps}'
      print(f'{self._folder}: {what} {where}', flush=True)
    operations = size.forward_operations(config)
    print(size.describe(state, operations, config), flush=True)
    return Progress(
      self._folder,
      steps=trained.steps,
      batch_size=config.train.batch_size,
      first_step=self.first,
      utilisation=functools.partial(
        size.utilisation, operations, devices=jax.device_count()
      ),
      wandb=config.train.wandb,
      config=workdir.flat(config),
    )

  def make(self, number: int) -> None:
    """Makes a step; it may still be computing when this returns.

    Raises:
      UserError: too many videos that cannot be read, too many steps in a row
        that were not finite, or a checkpoint that cannot be written.
    """
    if self._store:
      self._store.check()
    self._trace.before(number, self._state)
    with self._clock.measure('input'):
      batch = next(self._batches)
    self._unreadable.note(batch['unreadable'])
    arrays = parallel.shard(inputs.arrays(batch))
    if number == self.first + 1:
      self._compile(arrays)
    self._state, values = self._update(self._state, arrays)
    self._tally.add(values)
    self._write_report(ahead=1)
    most = self._trained.config.train.max_skipped
    # One step is in flight: more would pile up batches in memory.
    with self._clock.measure('device'):
      self._tally.look(ahead=1)
      if self._tally.in_a_row or most == 1:
        self._tally.look()  # so that the batch is at hand, if it is the last
    self._trace.after(number, self._state)
    if self._tally.in_a_row >= most:
      self._give_up(number, arrays, batch['index'])

  def _compile(self, arrays: Mapping[str, Any]) -> None:
    """Compiles the step, and says what memory it needs."""
    with self._clock.measure('compile'):
      ready = parallel.compiled(self._update, self._state, arrays)
    self._update, self._memory = ready
    if self._memory is not None and self._progress:
      print(size.describe_step(self._memory), flush=True)

  def _give_up(
    self, number: int, arrays: Mapping[str, Any], index: np.ndarray
  ) -> None:
    """Raises a UserError, and leaves what is needed to look at it."""
    trained = self._trained
    rate, before = self._rates()
    index = distributed.gather(index)
    norms = diverged.gradient_norms(
      self._state,
      arrays,
      trained.model,
      trained.config,
      trained.class_weights,
    )
    if distributed.first():
      ids = [trained.source.ids[i] for i in index]
      diverged.write(self._folder, number, (rate, before), index, ids, norms)
    checks.check_skipped(
      self._tally.in_a_row, trained.config, number, (rate, before)
    )

  def _rates(self) -> tuple[float, float]:
    """Returns the learning rates of the last step and of the last update.

    Of the steps that are looked at. The rates differ where the step is skipped:
    nothing came of its own.
    """
    made = self._updates + self._tally.updates
    before = float(self._rate_after[max(made - 1, 0)])
    skipped = self._tally.in_a_row > 0
    return float(self._rate_after[made]) if skipped else before, before

  def report(self, number: int) -> None:
    """Has the means over the steps since the last report written.

    That is done when the next step has begun, so that the devices compute
    meanwhile, or by what needs all steps to be done.
    """
    self._due = number, self._clock.report(number - self._reported)
    self._reported = number

  def _write_report(self, ahead: int = 0) -> None:
    """Writes the report that is due, if any.

    Args:
      ahead: of the steps, how many have begun after those that it is of.

    Raises:
      UserError: the loss is not finite, or files that cannot be written.
    """
    if self._due is None:
      return
    (number, times), self._due = self._due, None
    with self._clock.measure('device'):
      self._tally.look(ahead)
    report = self._tally.report(ahead)
    report |= {'learning_rate': self._rates()[0]}
    report |= times
    if (held := size.peak_memory()) is not None:
      report['peak_memory_bytes'] = held
    checks.check_finite(report.get('loss', 0.0), None, number)
    if self._progress:
      # Where XLA did not tell it before the first step.
      if self._begins and self._memory is None:
        if line := size.describe_step(None):
          print(line, flush=True)
      self._begins = False
      self._progress.report(number, report, step_seconds(times))

  def validate(self, number: int) -> dict[str, float] | None:
    """Returns the validation's scores, and writes them; None without."""
    self._finish_steps()
    with self._clock.measure('validation'):
      params = step.evaluated(self._state, self._trained.config)
      scores = self._trained.validate(params)
    if self._progress and scores:
      self._progress.report_validation(number, scores)
    return scores

  def save(self, number: int, scores: Mapping[str, float] | None) -> None:
    """Starts writing a checkpoint, in process 0.

    Raises:
      UserError: parameters are not finite, or files that cannot be written.
    """
    self._finish_steps()
    if self._store is None:
      return
    with self._clock.measure('checkpoint'):
      saved = parallel.unreplicate(self._state)
      checks.check_finite(0.0, saved.params, number)
      now = dataclasses.replace(
        self._trained.about,
        unlogged=tuple(self._tally.rows()),
        skipped=self._tally.in_a_row,
      )
      self._store.save(number, saved, now, scores)

  def _finish_steps(self) -> None:
    """Waits for the step in flight, so that its time is its own."""
    with self._clock.measure('device'):
      self._tally.look()
    self._write_report()

  def stop(self, number: int) -> None:
    """Waits until the last checkpoint is written, and says how to go on."""
    if self._store:
      self._store.wait()
    print(
      f'\nstopped at step {number}; the same command goes on from there',
      flush=True,
    )

"""The trainer: restores, then steps, reports, validates and saves."""

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

from vivit_jax import distributed, parallel
from vivit_jax.checkpoints import workdir
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.training import (
  checks,
  divergence,
  experiment,
  inputs,
  model_stats,
  optim,
  run_summary,
  step,
  stopping,
)
from vivit_jax.training.experiment import Experiment
from vivit_jax.training.progress import Progress
from vivit_jax.training.step_metrics import StepMetrics
from vivit_jax.training.step_timer import StepTimer, step_seconds
from vivit_jax.training.trace import Trace


def train(config: TrainConfig, folder: str | os.PathLike) -> int:
  """Trains the experiment in a workdir, or resumes its training.

  Training starts from the workdir's last checkpoint, else from the weights of
  `init_from`, else from random parameters by the seed. The embedded dataset is
  written if it is missing. A step takes `batch_size` clips, `repeats` per
  video; an epoch takes every video of the split once.

  The folder is made if it does not exist.

  Returns:
    The process's exit code: 0, `INTERRUPTED` after SIGINT, or `TERMINATED`
    after SIGTERM.

  Raises:
    UserError: a config that does not fit the dataset, devices or workdir;
      files that cannot be written; training that has diverged.
  """
  return run(*experiment.build_experiment(config, folder), folder)


def run(
  trained: Experiment, state: step.TrainState, folder: str | os.PathLike
) -> int:
  """Trains an experiment from its initial state, or resumes, as `train`."""
  config = trained.config
  with contextlib.ExitStack() as stack:
    received_signal = stack.enter_context(stopping.signals())
    # After all checks, because it writes to the workdir.
    folder, store = _claim(config, folder, stack)
    state, previous = _restore(store, state, trained.description)
    run = _Run(trained, state, previous, folder, store, stack)
    del state  # the run has a copy on every device
    sync_signal = stopping.sync_stop_signal()
    due = functools.partial(is_due, last=trained.steps)
    for number in range(run.first + 1, trained.steps + 1):
      run.make_step(number)
      stop = sync_signal(received_signal())
      if due(number, config.train.log_every):
        run.schedule_report(number)
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
  """Opens the workdir and its checkpoints, in process 0 alone."""
  if not distributed.first():
    return pathlib.Path(folder), None
  folder = stack.enter_context(workdir.claimed(folder, config))
  store = Store(folder, keep=config.train.keep_checkpoints)
  return folder, stack.enter_context(store)


def _restore(
  store: Store | None, state: step.TrainState, description: Description
) -> tuple[step.TrainState, Description]:
  """Returns the last checkpoint, else the arguments; all processes call it."""
  restored = store.restore_last(state) if store else None
  state, previous = restored or (state, description)
  state, skipped = distributed.from_first((state, previous.skipped))
  return state, dataclasses.replace(previous, skipped=int(skipped))


def is_due(
  number: int, every: int | fractions.Fraction | None, last: int
) -> bool:
  """Returns whether a periodic action is due after a step.

  The period `every` may be a fraction of steps; None is never. Every action is
  due after the last step.
  """
  if every is None:
    return False
  return number // every > (number - 1) // every or number == last


class _Run:
  """The actions of a training run in its workdir.

  Args:
    trained: the experiment.
    state: initial or restored.
    previous: metadata of the restored checkpoint, or of a new run.
    folder, store: the workdir; its checkpoints, None except in process 0.
    stack: closes what the run opens.

  Attributes:
    first: the step that training resumes from, or 0.
  """

  def __init__(
    self,
    trained: Experiment,
    state: step.TrainState,
    previous: Description,
    folder: pathlib.Path,
    store: Store | None,
    stack: contextlib.ExitStack,
  ):
    self._trained, self._folder, self._store = trained, folder, store
    self._metrics = StepMetrics(previous.unlogged, previous.skipped)
    self.first = self._reported = int(state.step)
    self._restored_updates = int(optim.updates_made(state.opt_state))
    # Computed before training: later, it would wait for the step in flight.
    self._rate_after = optim.rates(trained.schedule, trained.steps)
    # The scheduled report: its step and seconds per step.
    self._scheduled: tuple[int, dict[str, float]] | None = None
    self._memory: int | None = None  # of a step, from XLA
    self._is_first_report = True
    self._progress = None
    if distributed.first():
      epochs = previous.config.train.epochs
      self._progress = self._open_progress(state, epochs)
      stack.callback(self._progress.close)
    self._state = parallel.replicate(state)
    config, source = trained.config, trained.source
    self._update = trained.update()
    self._batches = trained.batches(self.first)
    stack.enter_context(contextlib.closing(self._batches))
    self._unreadable = checks.UnreadableVideos(
      source, config.data.max_unreadable
    )
    self._timer = StepTimer()
    self._trace = Trace(
      folder / 'profile',
      config.train.profile_first if distributed.first() else 0,
      config.train.profile_steps,
      begin=self.first,
      end=trained.steps,
    )
    stack.callback(self._trace.close)

  def _open_progress(self, state: step.TrainState, epochs: float) -> Progress:
    """Prints the run's summary, and opens its metrics.

    `epochs` is the number of epochs in the restored checkpoint's config.
    """
    config = self._trained.config
    text = run_summary.summarise(self._trained, state, epochs)
    print(f'{self._folder}\n{text}', flush=True)
    return Progress(
      self._folder,
      steps=self._trained.steps,
      batch_size=config.train.batch_size,
      first_step=self.first,
      utilisation=functools.partial(
        model_stats.utilisation,
        self._trained.forward_operations,
        devices=jax.device_count(),
      ),
      wandb=config.train.wandb,
      config=workdir.flat(config),
    )

  def make_step(self, number: int) -> None:
    """Dispatches a step; it may still be computing when this returns.

    Raises:
      UserError: too many unreadable videos, too many consecutive steps that
        were not finite, or a checkpoint that cannot be written.
    """
    if self._store:
      self._store.check()
    self._trace.before(number, self._state)
    with self._timer.measure('input'):
      batch = next(self._batches)
    self._unreadable.add(batch['unreadable'])
    arrays = parallel.shard(inputs.arrays(batch)) | self._trained.fixed
    if number == self.first + 1:
      self._compile(arrays)
    self._state, values = self._update(self._state, arrays)
    self._metrics.add(values)
    self._write_report(in_flight=1)
    limit = self._trained.config.train.max_skipped
    # One step is in flight: more would pile up batches in memory.
    with self._timer.measure('device'):
      self._metrics.wait(in_flight=1)
      if self._metrics.consecutive_skips or limit == 1:
        self._metrics.wait()  # before the batch is gone: _give_up may need it
    self._trace.after(number, self._state)
    if self._metrics.consecutive_skips >= limit:
      self._give_up(number, arrays, batch['index'])

  def _compile(self, arrays: Mapping[str, Any]) -> None:
    """Compiles the step, and prints how much memory it needs."""
    with self._timer.measure('compile'):
      self._update, self._memory = parallel.compiled(
        self._update, self._state, arrays
      )
    if self._memory is not None and self._progress:
      print(model_stats.describe_step(self._memory), flush=True)

  def _give_up(
    self, number: int, arrays: Mapping[str, Any], index: np.ndarray
  ) -> None:
    """Writes diverged.json, and raises a UserError."""
    trained = self._trained
    rates = self._learning_rates()
    index = distributed.gather(index)
    norms = trained.gradient_norms(self._state, arrays)
    if distributed.first():
      ids = [trained.source.ids[i] for i in index]
      divergence.write_report(self._folder, number, rates, index, ids, norms)
    skips = self._metrics.consecutive_skips
    raise UserError(
      f'training has diverged: {skips} steps up to step {number} had no finite '
      f'update, at learning rate {rates[0]:.3g} (last update: {rates[1]:.3g}). '
      'See diverged.json; the last good checkpoint is kept. '
      f'{checks.LOWER_RATE}'
    )

  def _learning_rates(self) -> tuple[float, float]:
    """Returns the learning rates of the last finished step and last update.

    They differ if that step was skipped.
    """
    updates = self._restored_updates + self._metrics.updates
    last = float(self._rate_after[max(updates - 1, 0)])
    skipped = self._metrics.consecutive_skips > 0
    return float(self._rate_after[updates]) if skipped else last, last

  def schedule_report(self, number: int) -> None:
    """Schedules a report of the mean metrics since the last report.

    It is written once the next step is dispatched, so that the devices stay
    busy, or before anything that waits for all steps.
    """
    self._scheduled = number, self._timer.report(number - self._reported)
    self._reported = number

  def _write_report(self, in_flight: int = 0) -> None:
    """Writes the scheduled report, if any, without the steps in flight.

    Raises:
      UserError: the loss is not finite, or files cannot be written.
    """
    if self._scheduled is None:
      return
    (number, times), self._scheduled = self._scheduled, None
    with self._timer.measure('device'):
      self._metrics.wait(in_flight)
    report = self._metrics.report(in_flight)
    report |= {'learning_rate': self._learning_rates()[0]}
    report |= times
    if (peak := model_stats.peak_memory()) is not None:
      report['peak_memory_bytes'] = peak
    checks.check_finite(report.get('loss', 0.0), 'the loss', number)
    if self._progress:
      if self._is_first_report and self._memory is None:
        if line := model_stats.describe_step(None):
          print(line, flush=True)
      self._is_first_report = False
      self._progress.report(number, report, step_seconds(times))

  def validate(self, number: int) -> dict[str, float] | None:
    """Validates, writes and returns the scores; returns None on failure."""
    self._finish_steps()
    with self._timer.measure('validation'):
      params = step.evaluation_params(self._state, self._trained.config)
      scores = self._trained.validate(params)
    if self._progress and scores:
      remark = self._trained.remark(scores)
      self._progress.report_validation(number, scores, remark)
    return scores

  def save(self, number: int, scores: Mapping[str, float] | None) -> None:
    """Starts writing a checkpoint, in process 0.

    Raises:
      UserError: parameters are not finite, or files cannot be written.
    """
    self._finish_steps()
    if self._store is None:
      return
    with self._timer.measure('checkpoint'):
      saved = parallel.unreplicate(self._state)
      checks.check_finite(saved.params, 'a parameter', number)
      description = dataclasses.replace(
        self._trained.description,
        unlogged=tuple(self._metrics.rows()),
        skipped=self._metrics.consecutive_skips,
      )
      self._store.save(number, saved, description, scores)

  def _finish_steps(self) -> None:
    """Waits for the step in flight, then writes the scheduled report."""
    with self._timer.measure('device'):
      self._metrics.wait()
    self._write_report()

  def stop(self, number: int) -> None:
    """Waits for the last checkpoint, and prints how to resume."""
    if self._store:
      self._store.wait()
    print(
      f'\nstopped at step {number}; the same command resumes from there',
      flush=True,
    )

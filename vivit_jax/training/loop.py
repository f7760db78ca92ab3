"""The trainer: restore, then step, report, validate and save, to the end."""

import contextlib
import functools
import math
import os
import signal
from collections.abc import Iterator

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints import start
from vivit_jax.checkpoints.store import Description, Store, has_checkpoints
from vivit_jax.config import TrainConfig
from vivit_jax.data import pipeline, prepare
from vivit_jax.errors import INTERRUPTED
from vivit_jax.evaluation import forward, metrics, run
from vivit_jax.training import checks, inputs, optim, size, step, workdir
from vivit_jax.training.clock import Clock
from vivit_jax.training.progress import Progress
from vivit_jax.training.trace import Trace


def train(config: TrainConfig, folder: str | os.PathLike) -> int:
  """Trains, or goes on with, the experiment in a workdir.

  Order of restoration: the last checkpoint of this workdir, else the weights of
  `init_from`, else random parameters from the seed. The embedded dataset is
  written if it is absent. An epoch is every video of the split once; a step
  takes `batch_size` clips, `repeats` of each of its videos.

  Returns:
    The process's exit code: 0, or `INTERRUPTED` after Ctrl-C.

  Raises:
    UserError: a config that does not fit the dataset, devices or workdir.
  """
  checks.check_before_data(config, folder)
  prepare.ensure_embedded(config.data.dataset, config.data.data_dir)
  source = checks.open_split(config, config.data.train_split)
  config = configs.resolve_heads(config, source.label_names)
  checks.check_with_data(config, source)
  model = models.build(**configs.model_arguments(config.model))
  validate = _validation(model, config)
  about = Description(config, source.label_names, source.content)
  per_epoch = len(source) / configs.videos_per_step(config)
  steps = max(1, math.ceil(config.train.epochs * per_epoch))
  rate = optim.schedule(config.optim, steps=steps, steps_per_epoch=per_epoch)
  optimiser = optim.optimiser(config.optim, rate)
  state = step.initialise(model, optimiser, config)
  if config.init_from is not None and not has_checkpoints(folder):
    params = start.load(state.params, config, source.label_names)
    state = step.with_parameters(state, params, config)
  checks.check_resumed(folder, about)

  with contextlib.ExitStack() as stack:
    # After all that can be wrong.
    folder = stack.enter_context(workdir.claimed(folder, config))
    store = stack.enter_context(
      Store(
        folder,
        keep=config.train.keep_checkpoints,
        best_metric=config.train.best_metric,
      )
    )
    first = store.find('last')
    if first is not None:
      state = store.restore(first, state)
      what = 'going on from' if first < steps else 'training ended at'
      print(f'{folder}: {what} step {first} of {steps}', flush=True)
    first = int(state.step)
    operations = size.forward_operations(model, config)
    print(size.describe(state.params, operations, config), flush=True)
    progress = Progress(
      folder,
      steps=steps,
      batch_size=config.train.batch_size,
      first_step=first,
      utilisation=functools.partial(
        size.utilisation, operations, devices=jax.device_count()
      ),
      wandb=config.train.wandb,
    )
    stack.callback(progress.close)
    interrupted = stack.enter_context(_interrupts())
    state = parallel.replicate(state)
    update = step.train_step(model, optimiser, config)
    batches = pipeline.train_batches(
      source,
      config.data,
      augment=config.augment,
      seed=config.train.seed,
      batch_size=config.train.batch_size,
      first_step=first,
    )
    stack.enter_context(contextlib.closing(batches))
    unreadable = checks.Unreadable(source, config.data.max_unreadable)
    pending = []  # metrics of steps on the device, not read yet
    clock = Clock()
    trace = Trace(
      folder / 'profile', config.train.profile_first, config.train.profile_steps
    )
    stack.callback(trace.close)
    for number in range(first + 1, steps + 1):
      trace.before(number)
      with clock.measure('input'):
        batch = next(batches)
      unreadable.note(batch['unreadable'])
      state, values = update(state, parallel.shard(inputs.arrays(batch)))
      del batch
      pending.append(values)
      # One step is in flight: more would pile up batches in memory.
      with clock.measure('device'):
        jax.block_until_ready(pending[-2:-1])
      stop = interrupted()  # once: it may come at any moment
      last = number == steps or stop
      if number % config.train.log_every == 0 or last:
        with clock.measure('device'):
          report = _mean(pending)
        report['learning_rate'] = float(rate(number - 1))
        report |= clock.report(len(pending))
        if (held := size.peak_memory()) is not None:
          report['peak_memory_bytes'] = held
        pending = []
        checks.check_finite(report['loss'], None, number)
        progress.report(number, report)
      every = config.train.validate_every
      scores = None
      if every and (number % every == 0 or number == steps):
        with clock.measure('validation'):
          scores = validate(step.evaluated(state, config))
        progress.report_validation(number, scores)
      if last or scores or number % config.train.checkpoint_every == 0:
        with clock.measure('checkpoint'):
          saved = parallel.unreplicate(state)
          checks.check_finite(0.0, saved.params, number)
          store.save(number, saved, about, scores)
      trace.after(number)
      if stop and number < steps:
        print(
          f'\nstopped at step {number}; the same command goes on from there',
          flush=True,
        )
        return INTERRUPTED
  return 0


def _validation(model, config: TrainConfig):
  """Returns parameters -> scores of the validation split, one view each."""
  if not config.train.validate_every:
    return None
  source = checks.open_validation(config)
  apply = forward.view_averaged(model, config.data)

  def validate(params) -> dict[str, float]:
    batches = pipeline.evaluation_batches(
      source,
      config.data,
      temporal_views=1,
      spatial_crops=1,
      batch_size=forward.padded_batch(config.train.batch_size),
    )
    predictions = run.score_split(
      batches, lambda video: apply(params, video), len(source)
    )
    if len(predictions.unreadable):
      first = source.ids[predictions.unreadable[0]]
      print(
        f'\n{len(predictions.unreadable)} of {len(source)} videos of '
        f"validation cannot be read, and count nowhere ('{first}' is the first)"
      )
    return metrics.scores(predictions.logits, predictions.labels)

  return validate


def _mean(pending: list[dict]) -> dict[str, float]:
  """Averages metrics [devices] of several steps, on the host."""
  rows = [parallel.unreplicate(values) for values in pending]
  return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


@contextlib.contextmanager
def _interrupts() -> Iterator:
  """Tells whether Ctrl-C (or SIGTERM) came; a second Ctrl-C ends at once."""
  came = []

  def note(signum, frame):
    del signum, frame
    came.append(True)
    signal.signal(signal.SIGINT, before[signal.SIGINT])

  before = {
    which: signal.signal(which, note)
    for which in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield lambda: bool(came)
  finally:
    for which, handler in before.items():
      signal.signal(which, handler)

"""The trainer: restore, then step, report, validate and save, to the end."""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import signal
from collections.abc import Callable, Iterator

import jax

from vivit_jax import config as configs
from vivit_jax import distributed, models, parallel
from vivit_jax.checkpoints import start
from vivit_jax.checkpoints.on_disk import Description, has_checkpoints
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline, prepare
from vivit_jax.errors import INTERRUPTED, TERMINATED, UserError
from vivit_jax.evaluation import forward, metrics, run
from vivit_jax.training import (
  checks,
  diverged,
  inputs,
  optim,
  size,
  step,
  workdir,
)
from vivit_jax.training.clock import Clock
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
  checks.check_before_data(config, folder)
  if distributed.first():
    prepare.ensure_embedded(config.data.dataset, config.data.data_dir)
  elif config.data.dataset == 'moving_shapes':
    where = config.data.dataset, config.data.data_dir
    distributed.wait_for(lambda: datasets.find(*where) is not None)
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
    signalled = stack.enter_context(_signals())
    # After all that can be wrong.
    store = None  # process 0 alone reads and writes the workdir
    found = None
    if distributed.first():
      folder = stack.enter_context(workdir.claimed(folder, config))
      store = stack.enter_context(
        Store(
          folder,
          keep=config.train.keep_checkpoints,
          best_metric=config.train.best_metric,
        )
      )
      found = store.restore_last(state)
    state, there = found or (state, about)
    state, in_a_row = distributed.from_first((state, there.skipped))
    tally = Tally(there.unlogged, int(in_a_row))
    first = int(state.step)
    if found:
      what = 'going on from' if first < steps else 'training ended at'
      print(f'{folder}: {what} step {first} of {steps}', flush=True)
    progress = None
    if distributed.first():
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
    state = parallel.replicate(state)
    update = step.train_step(model, optimiser, config)
    batches = pipeline.train_batches(
      source,
      config.data,
      augment=config.augment,
      seed=config.train.seed,
      batch_size=config.train.batch_size,
      first_step=first,
      process=jax.process_index(),
      processes=jax.process_count(),
    )
    stack.enter_context(contextlib.closing(batches))
    unreadable = checks.Unreadable(source, config.data.max_unreadable)
    stops = _agreement()
    clock, reported = Clock(), first
    trace = Trace(
      pathlib.Path(folder, 'profile'),
      config.train.profile_first,
      config.train.profile_steps,
    )
    stack.callback(trace.close)
    for number in range(first + 1, steps + 1):
      trace.before(number)
      with clock.measure('input'):
        batch = next(batches)
      unreadable.note(batch['unreadable'])
      arrays = parallel.shard(inputs.arrays(batch))
      state, values = update(state, arrays)
      tally.add(values)
      # One step is in flight: more would pile up batches in memory.
      with clock.measure('device'):
        tally.look(ahead=1)
        if tally.in_a_row or config.train.max_skipped == 1:
          tally.look()  # so that the batch is at hand when it is the last one
      if tally.in_a_row >= config.train.max_skipped:
        now = float(rate(number - 1))
        index = distributed.gather(batch['index'])
        norms = diverged.gradient_norms(state, arrays, model, config)
        if distributed.first():
          ids = [source.ids[i] for i in index]
          diverged.write(folder, number, now, index, ids, norms)
        checks.check_skipped(tally.in_a_row, config, number, now)
      del batch, arrays
      stop = stops(signalled())  # once: it may come at any moment
      if number % config.train.log_every == 0 or number == steps:
        with clock.measure('device'):
          report = tally.report()
        report |= {'learning_rate': float(rate(number - 1))}
        report |= clock.report(number - reported)
        reported = number
        if (held := size.peak_memory()) is not None:
          report['peak_memory_bytes'] = held
        checks.check_finite(report.get('loss', 0.0), None, number)
        if progress:
          progress.report(number, report)
      every = config.train.validate_every
      scores = None
      if every and (number % every == 0 or number == steps):
        with clock.measure('validation'):
          scores = validate(step.evaluated(state, config))
        if progress and scores:
          progress.report_validation(number, scores)
      due = number % config.train.checkpoint_every == 0 or number == steps
      if store and (due or scores or stop):
        with clock.measure('checkpoint'):
          saved = parallel.unreplicate(state)
          checks.check_finite(0.0, saved.params, number)
          unlogged = tuple(tally.rows())
          now = dataclasses.replace(
            about, unlogged=unlogged, skipped=tally.in_a_row
          )
          store.save(number, saved, now, scores)
      trace.after(number)
      if stop and number < steps:
        if store:
          store.wait()
        print(
          f'\nstopped at step {number}; the same command goes on from there',
          flush=True,
        )
        return INTERRUPTED if stop == signal.SIGINT else TERMINATED
  return 0


def _validation(model, config: TrainConfig):
  """Returns parameters -> scores of the validation split, one view each.

  None, with a sentence, where it cannot be scored: training goes on.
  """
  if not config.train.validate_every:
    return None
  source = checks.open_validation(config)
  apply = forward.view_averaged(model, config.data)

  def validate(params) -> dict[str, float] | None:
    try:
      return score(params)
    except UserError as error:
      print(f'\nvalidation is left out: {error}', flush=True)
      return None

  def score(params) -> dict[str, float]:
    batches = pipeline.evaluation_batches(
      source,
      config.data,
      temporal_views=1,
      spatial_crops=1,
      batch_size=forward.padded_batch(config.train.batch_size),
      process=jax.process_index(),
      processes=jax.process_count(),
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


def _agreement() -> Callable[[int], int]:
  """Returns a signal here -> the signal that all processes stop by, or 0.

  They learn of it a step later, so that none waits for another.
  """
  if jax.process_count() == 1:
    return lambda signum: signum
  asked = []

  def agree(signum: int) -> int:
    asked.append(parallel.most_anywhere(signum))
    return int(parallel.unreplicate(asked.pop(0))) if len(asked) > 1 else 0

  return agree


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], int]]:
  """Gives what tells the signal that came, SIGINT or SIGTERM, or 0.

  A second one ends the process at once: files are written whole or not at all,
  and worker processes end with this.
  """
  came = []

  def note(signum, frame):
    del frame
    if came:
      os.write(2, b'\ninterrupted\n')
      os._exit(INTERRUPTED if signum == signal.SIGINT else TERMINATED)
    came.append(signum)

  before = {
    which: signal.signal(which, note)
    for which in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield lambda: came[0] if came else 0
  finally:
    for which, handler in before.items():
      signal.signal(which, handler)

"""The input of a training run alone, and its step alone, for `end_to_end`.

Each runs in a process of its own, which stays from turn to turn. What it needs
is imported when it is called: by then the process is on its cores.
"""

import functools
import os
import time

from benchmarks import measure, pinning

SHARED = {
  'model.heads': {'label': 4},
  'model.options.kernel_init': 'random',
  'model.size': 'Ti',
  'data.frames': 32,
  'data.crop': (64, 64),
  'data.short_side': 72,
  'augment.colour_jitter': 0.0,
  'augment.colour_drop': 0.0,
  'train.batch_size': 8,
  'train.epochs': 1e5,  # until it is told to end
  'train.log_every': 10,
  'train.validate_every': 0,
  'train.checkpoint_every': 10**9,
  'evaluation.split': 'train',
  'evaluation.temporal_views': 1,
}
CASES = {
  'input-bound': {
    'model.options.tubelet': (16, 16, 16),
    'model.options.spatial_layers': 1,
    'model.options.temporal_layers': 1,
    'data.workers': 1,
  },
  'step-bound': {
    'model.options.tubelet': (4, 8, 8),
    'model.options.spatial_layers': 2,
  },
}
WARM_SECONDS = 2.0


def changes(case: str, data_dir: str, workers: int) -> dict[str, object]:
  """Returns what a case's config has instead of the file's."""
  from benchmarks import clips

  return {
    **SHARED,
    'data.data_dir': data_dir,
    'data.dataset': clips.DATASETS['jpeg'],
    'data.workers': workers,
    **CASES[case],
  }


def _config(case: str, data_dir: str, workers: int):
  from configs import k400_b16x2_fe
  from vivit_jax import config as configs

  config = k400_b16x2_fe.get_config()
  config.update_from_flattened_dict(
    {
      key: value
      for key, value in changes(case, data_dir, workers).items()
      if key != 'model.heads'
    }
  )
  config.model.heads = SHARED['model.heads']
  return configs.resolve(config)


@functools.cache
def _batches(case: str, data_dir: str, cores: tuple[int, ...]):
  from vivit_jax.data import datasets, pipeline

  config = _config(case, data_dir, len(cores))
  data = config.data
  source = datasets.open_split(data.dataset, data.data_dir, data.train_split)
  batches = pipeline.train_batches(
    source,
    data,
    augment=config.augment,
    seed=config.train.seed,
    batch_size=config.train.batch_size,
  )
  next(batches)
  pinning.pin_workers(os.getpid(), cores)
  return batches, config.train.batch_size


def input_alone(
  case: str, data_dir: str, cores: tuple[int, ...], seconds: float
) -> float:
  """Returns clips a second of the pipeline, once its buffers are empty."""
  batches, batch_size = _batches(case, data_dir, cores)
  return measure.stream(
    batches,
    batch_size,
    seconds=seconds,
    warm_batches=4 * len(cores),  # past what was made ahead
    warm_seconds=WARM_SECONDS,
  ).speed


def close_input(case: str, data_dir: str, cores: tuple[int, ...]) -> None:
  """Ends the workers of `input_alone`."""
  _batches(case, data_dir, cores)[0].close()


@functools.cache
def _ready_step(case: str, data_dir: str, cores: tuple[int, ...]):
  """Returns what makes a step, and the clips of one."""
  import jax
  import numpy as np

  from vivit_jax import models, parallel
  from vivit_jax.training import inputs, optim, step

  config = _config(case, data_dir, len(cores))
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3, config.model)
  state = parallel.replicate(step.initialise(model, optimiser, config))
  update = step.train_step(model, optimiser, config)
  batches, batch_size = _batches(case, data_dir, cores)
  # A copy: the workers' shared memory goes with them.
  batch = jax.tree.map(np.array, inputs.arrays(next(batches)))
  batches.close()

  def make():
    nonlocal state
    state, values = update(state, parallel.shard(batch))
    return values

  return make, batch_size


def step_alone(
  case: str, data_dir: str, cores: tuple[int, ...], seconds: float
) -> float:
  """Returns clips a second of the step, transfers included."""
  import jax

  make, batch_size = _ready_step(case, data_dir, cores)
  jax.block_until_ready(make())  # compiled, warm
  waiting, made = make(), 0
  begin, passed = time.perf_counter(), 0.0
  while passed < seconds:
    ahead = make()
    jax.block_until_ready(waiting)
    waiting, made = ahead, made + 1
    passed = time.perf_counter() - begin
  jax.block_until_ready(waiting)
  return made * batch_size / passed

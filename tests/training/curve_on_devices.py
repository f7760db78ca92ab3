"""Trains with every regulariser on, and writes the losses of all steps.

Run by test_curve.py, in one process or several with different devices:
curve_on_devices.py STEPS DATA_DIR OUT [COORDINATOR PROCESSES PROCESS].
"""

import json
import pathlib
import sys

import jax

from vivit_jax import distributed

BATCH = 8


def main(steps: str, data_dir: str, out: str, *together: str) -> None:
  if together:
    distributed.initialise(together[0], int(together[1]), int(together[2]))
  # Only now: some of these compute, which jax takes for a process alone.
  import regularised

  from vivit_jax import config as configs
  from vivit_jax import parallel
  from vivit_jax.data import datasets, pipeline
  from vivit_jax.training import inputs, optim, step

  config = regularised.config()
  config.augment.repeats = 2
  config.train.batch_size = BATCH
  config = configs.resolve(config)
  source = datasets.open_split('moving_shapes', data_dir, 'train')
  config = configs.resolve_heads(config, source.label_names)
  model = regularised.model(config.model.heads)
  optimiser = optim.optimiser(config.optim, lambda _: 0.02)
  state = step.initialise(model, optimiser, config)
  state = parallel.replicate(state)
  update = step.train_step(model, optimiser, config)
  batches = pipeline.train_batches(
    source,
    config.data,
    config.augment,
    seed=1,
    batch_size=BATCH,
    process=jax.process_index(),
    processes=jax.process_count(),
  )
  losses = []
  for _ in range(int(steps)):
    arrays = parallel.shard(inputs.arrays(next(batches)))
    state, metrics = update(state, arrays)
    losses.append(float(parallel.unreplicate(metrics['loss'])))
  if distributed.first():
    result = {'devices': jax.device_count(), 'losses': losses}
    pathlib.Path(out).write_text(json.dumps(result))


if __name__ == '__main__':
  main(*sys.argv[1:])

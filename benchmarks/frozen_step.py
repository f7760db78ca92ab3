"""A step that trains the head alone, against the whole step.

  python -m benchmarks.frozen_step
  python -m benchmarks.frozen_step --config=k400_b16x2 --batch=4

Of `optim.train='^output_projection/'` against training everything, by turns in
one process: time of a step, and memory of its state, arguments and temporaries
by XLA. Goals: at most 0.45 of the time and 0.5 of the memory.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from benchmarks import whole_step
from vivit_jax import models, parallel
from vivit_jax.training import optim, step

HEAD = '^output_projection/'


def main() -> None:
  parser = argparse.ArgumentParser(prog='python -m benchmarks.frozen_step')
  parser.add_argument('--config', default='k400_b16x2_fe', help='of configs/')
  parser.add_argument('--batch', type=int, default=2, help='clips')
  parser.add_argument('--frames', type=int, default=8, help='of a clip')
  parser.add_argument('--crop', type=int, default=112, help='pixels')
  parser.add_argument('--rounds', type=int, default=5, help='steps of each')
  flags = parser.parse_args()
  changes = {
    'data.frames': flags.frames,
    'data.crop': (flags.crop, flags.crop),
    'model.stochastic_depth': 0.1,
    'optim.name': 'adamw',
  }
  runs = {
    name: _prepared(flags, changes | more)
    for name, more in (('whole', {}), ('head alone', {'optim.train': HEAD}))
  }
  seconds = {name: [] for name in runs}
  for _ in range(flags.rounds + 1):  # the first is not counted
    for name, (run, _) in runs.items():
      begin = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - begin)
  times = {n: statistics.median(x[1:]) for n, x in seconds.items()}
  held = {name: memory for name, (_, memory) in runs.items()}
  for name in runs:
    print(f'{name:>12}  {times[name]:.3f} s  {held[name] / 1e6:,.0f} MB')
  whole, alone = runs
  print(f'{"time":>12}  {times[alone] / times[whole]:.2f} of the whole step')
  print(f'{"memory":>12}  {held[alone] / held[whole]:.2f} of the whole step')


def _prepared(flags: argparse.Namespace, changes: dict):
  """Returns a function that makes a step, and the bytes that it needs."""
  config = whole_step.changed(flags.config, flags.batch, changes)
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3, config.model)
  state = parallel.replicate(step.initialise(model, optimiser, config))
  draw = np.random.default_rng(0)
  devices = jax.local_device_count()
  batch = jax.tree.map(
    lambda x: draw.integers(0, 255, x.shape).astype(x.dtype),
    whole_step.of(config)[2],
  )
  batch['labels'] = {head: x * 0 for head, x in batch['labels'].items()}
  update, held = parallel.compiled(
    step.train_step(model, optimiser, config), state, batch
  )
  assert devices == 1, 'on one device'
  carried = [state]

  def run():
    carried[0], metrics = update(carried[0], batch)
    jax.block_until_ready((carried[0], metrics))

  return run, held


if __name__ == '__main__':
  main()

"""The time of a training step on simulated devices, with a fixed batch each.

  python -m benchmarks.weak_scaling

n devices that XLA simulates on this CPU share its cores, so n times the work
should take n times as long; what is more than that is the cost of splitting the
step and of averaging its gradients in memory. No network is measured. Each
number of devices runs in processes of its own, in turn; a ratio is the median
of the rounds'. Other programs on the machine disturb the time that passes; CPU
time, of all cores, suffers less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks import markdown
from benchmarks.flags import at_least
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error


def measure(batch: int, steps: int) -> tuple[float, float]:
  """Returns seconds of a step, and CPU seconds, on this process's devices.

  Args:
    batch: clips of a device.
    steps: to measure, after three that warm up.
  """
  import jax

  from configs import moving_shapes_ti8x2_fe
  from vivit_jax import config as configs
  from vivit_jax import models, parallel
  from vivit_jax.training import optim, step

  config = moving_shapes_ti8x2_fe.get_config()
  config.model.heads = {'noun': 8, 'verb': 8}
  config.train.batch_size = batch * jax.local_device_count()
  config = configs.resolve(config)
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3, config.model)
  state = parallel.replicate(step.initialise(model, optimiser, config))
  update = step.train_step(model, optimiser, config)
  draw = np.random.default_rng(0)
  shape = (config.train.batch_size, config.data.frames, *config.data.crop, 3)
  clips = {
    'video': draw.integers(0, 256, shape).astype(np.uint8),
    'labels': {
      head: draw.integers(0, classes, shape[0]).astype(np.int32)
      for head, classes in config.model.heads.items()
    },
  }
  for number in range(3 + steps):
    if number == 3:
      begin, used = time.perf_counter(), time.process_time()
    state, values = update(state, parallel.shard(clips))
    jax.block_until_ready((state, values))
  passed, used = time.perf_counter() - begin, time.process_time() - used
  return passed / steps, used / steps


def _apart(devices: int, batch: int, steps: int) -> tuple[float, float]:
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      'import json\n'
      'from vivit_jax import processes\n'
      'processes.obey_parent()\n'
      'from benchmarks import weak_scaling\n'
      f'print(json.dumps(weak_scaling.measure({batch}, {steps})))',
    ],
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    },
    stdout=subprocess.PIPE,
    check=False,
    text=True,
  )
  if done.returncode:
    raise UserError(
      f'no step was measured on {devices} devices; the words of the process '
      'that failed are above.'
    )
  return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.weak_scaling',
    description='Times training steps on 1, 2 and 4 simulated devices.',
  )
  add = parser.add_argument
  add(
    '--devices', type=at_least(1), nargs='+', default=[1, 2, 4], help='(1 2 4)'
  )
  add('--batch_size', type=at_least(1), default=8, help='clips of a device (8)')
  add('--steps', type=at_least(1), default=20, help='of a round (20)')
  add('--rounds', type=at_least(1), default=3, help='of all measurements (3)')
  flags = parser.parse_args()
  counts = sorted({1, *flags.devices})
  rounds = {count: [] for count in counts}
  for _ in range(flags.rounds):
    for count in counts:
      rounds[count].append(_apart(count, flags.batch_size, flags.steps))
  cores = os.cpu_count()
  print(f'{cores} cores, {flags.batch_size} clips a device\n')
  header = ('devices', 'ms a step', 'to n x one', 'CPU ms a step', 'to n x one')
  rows = []
  for count in counts:
    cells = [str(count)]
    for column in (0, 1):
      times = [measured[column] for measured in rounds[count]]
      as_one = [count * one[column] for one in rounds[1]]
      cells.append(f'{1e3 * statistics.median(times):.0f}')
      cells.append(markdown.ratio(times, as_one))
    rows.append(cells)
  print(markdown.table(header, rows))
  return 0


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

"""How long training stands still for a checkpoint, against the step's time.

  python -m benchmarks.checkpoint_stall --size=L --step_seconds=0.5
  python -m benchmarks.checkpoint_stall

Saves the whole state of ViViT-B or ViViT-L (factorised encoder, 2x16x16, 400
classes), random values of the real shapes, as training does: the first device's
copy is taken to the host, searched for values that are not finite, and handed
to the store, which writes it in the background. The loop goes on after that;
its pause is the stall. The time until the checkpoint is on disk is that of
closing the store at once. The step's time is --step_seconds, or measured: one
clip, on this machine.

On a CPU, "the copy from the device" is within memory.
"""

import argparse
import dataclasses
import importlib
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import markdown
from benchmarks.flags import at_least, make_folder, positive
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.errors import exit_on_interrupt, exit_on_user_error
from vivit_jax.training import checks, optim, step

_CONFIGS = {'B': 'k400_b16x2_fe', 'L': 'k400_l16x2_fe'}
_PARTS = ('copy', 'check', 'save')  # of a stall


@dataclasses.dataclass(frozen=True)
class Saving:
  """Times of one checkpoint, in seconds.

  Attributes:
    copy: from the device to the host.
    check: that the parameters are finite.
    save: until the store gives control back.
    written: from the begin of `copy` until all is on disk.
  """

  copy: float
  check: float
  save: float
  written: float

  @property
  def stall(self) -> float:
    return self.copy + self.check + self.save


def random_state(config: TrainConfig) -> Any:
  """Returns the state [1, ...] of a config's model, on the first device."""
  model, optimiser = _built(config)
  shapes = jax.eval_shape(lambda: step.initialise(model, optimiser, config))
  draw = np.random.default_rng(0)

  def put(shape: jax.ShapeDtypeStruct) -> jax.Array:
    if jax.numpy.issubdtype(shape.dtype, jax.numpy.floating):
      values = draw.standard_normal((1, *shape.shape), np.float32)
    else:
      values = np.zeros((1, *shape.shape))
    return jax.device_put(values.astype(shape.dtype), jax.devices()[0])

  return jax.block_until_ready(jax.tree.map(put, shapes))


def _built(config: TrainConfig):
  model = models.build(config.model)
  return model, optim.optimiser(config.optim, lambda _: 0.1, config.model)


def save(state: Any, config: TrainConfig, folder: str) -> Saving:
  """Saves a state once, in a store of its own, and waits until it is written.

  Args:
    state: arrays [devices, ...].
    config: of the run.
    folder: where the checkpoint goes; it is left there.
  """
  names = {h: [str(k) for k in range(n)] for h, n in config.model.heads.items()}
  about = Description(config, names)
  with Store(folder) as store:
    times = [time.perf_counter()]
    saved = parallel.unreplicate(state)
    times.append(time.perf_counter())
    checks.check_finite(0.0, saved.params, 1)
    times.append(time.perf_counter())
    store.save(1, saved, about)
    times.append(time.perf_counter())
  parts = [end - begin for begin, end in zip(times, times[1:])]
  return Saving(*parts, written=time.perf_counter() - times[0])


def step_seconds(state: Any, config: TrainConfig, steps: int) -> float:
  """Returns the median time of training steps on one clip, on one device."""
  config = dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=1)
  )
  update = step.train_step(*_built(config), config)
  shape = (1, 1, config.data.frames, *config.data.crop, 3)
  labels = {head: np.zeros((1, 1), np.int32) for head in config.model.heads}
  batch = {'video': np.zeros(shape, np.uint8), 'labels': labels}
  times = []
  for _ in range(1 + steps):
    begin = time.perf_counter()
    state, values = update(state, batch)
    jax.block_until_ready((state, values))
    times.append(time.perf_counter() - begin)
  return statistics.median(times[1:])


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.checkpoint_stall',
    description='Times how long a checkpoint stops training.',
  )
  add = parser.add_argument
  add(
    '--size',
    choices=sorted(_CONFIGS),
    default='B',
    help='of the model (B); L needs some 15 GB of memory',
  )
  add('--optimiser', choices=('sgd', 'adamw'), default='sgd', help='(sgd)')
  add(
    '--step_seconds', type=positive, help='of the training; else it is measured'
  )
  add('--folder', help='disk to write to (the one for temporary files)')
  add('--rounds', type=at_least(1), default=3, help='checkpoints (3)')
  flags = parser.parse_args()
  if flags.folder:
    make_folder('--folder', flags.folder)
  logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax
  module = importlib.import_module(f'configs.{_CONFIGS[flags.size]}')
  changed = module.get_config()
  changed.optim.name = flags.optimiser
  config = configs.resolve(changed)
  state = random_state(config)
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  count = sum(x.size for x in jax.tree.leaves(state.params))
  print(
    f'ViViT-{flags.size}, {count / 1e6:.0f} M parameters, {flags.optimiser}: '
    f'{size / 1e9:.2f} GB, on {jax.devices()[0].device_kind}; medians of '
    f'{flags.rounds} checkpoints.\n',
    flush=True,
  )
  savings = []
  for _ in range(flags.rounds):
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
      savings.append(save(state, config, folder))
      print(_line(savings[-1]), file=sys.stderr, flush=True)
  seconds = flags.step_seconds or step_seconds(state, config, steps=3)
  told = 'given' if flags.step_seconds else 'measured, one clip'
  every = config.train.checkpoint_every
  stall = _median(savings, 'stall')
  rows = [
    *((part, _milliseconds(_median(savings, part))) for part in _PARTS),
    ('stall, their sum', _milliseconds(stall)),
    ('on disk after', f'{_median(savings, "written"):.1f} s'),
    (f'step ({told})', _milliseconds(seconds)),
    ('stall / step', f'{stall / seconds:.2f}'),
    (
      f'share of the time, with a checkpoint each {every} steps',
      f'{stall / (stall + seconds * every):.3%}',
    ),
  ]
  print(markdown.table(('', 'median'), rows))
  return 0


def _median(savings: Sequence[Saving], attribute: str) -> float:
  return statistics.median(getattr(saving, attribute) for saving in savings)


def _milliseconds(seconds: float) -> str:
  return f'{1e3 * seconds:.0f} ms'


def _line(saving: Saving) -> str:
  parts = ', '.join(
    f'{part} {1e3 * getattr(saving, part):.0f} ms' for part in _PARTS
  )
  return f'  stall {1e3 * saving.stall:.0f} ms ({parts})'


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

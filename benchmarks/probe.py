"""What heads cost on a frozen encoder, and what stored tokens save.

  python -m benchmarks.probe

The encoder is that of the demo (configs/moving_shapes_ti8x2_fe.py), with random
weights. The figures:

  heads   a training step of ten heads of a pool, against that of one of them;
          both run the encoder
  epochs  ten epochs of ten heads on stored tokens, against ten through the
          encoder, both with their input pipelines
  storing encoding all clips once, with start and compilation, against one epoch
          through the encoder
"""

import contextlib
import dataclasses
import functools
import pathlib
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import flags

from benchmarks import measure
from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax import machine, parallel
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.data import prepare
from vivit_jax.probing import experiment as probes
from vivit_jax.training import experiment, inputs

_EPOCHS = 10
_POOLS = ('mean', 'attention/videoglue', 'attention/big_vision')
_RATES = tuple(2.0**-i for i in range(10))


def _define(values: flags.FlagValues) -> None:
  measure.define_counts(
    values,
    rounds=(3, 'Rounds to measure.'),
    videos=(256, 'Training videos.'),
    steps=(8, 'Steps of each measurement of heads.'),
  )


def _config(root: pathlib.Path, **probe) -> configs.TrainConfig:
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.pool = 'mean'
  config.data.data_dir = str(root / 'data')
  config.init_from = str(root / 'encoder')
  config.probe.update(probe)
  return configs.resolve(config)


def _write_encoder(config: configs.TrainConfig) -> None:
  """Writes random weights where the config's `init_from` is."""
  folder = pathlib.Path(config.init_from)
  config = dataclasses.replace(config, init_from=None)
  built, state = experiment.build_experiment(config, folder)
  folder.mkdir()
  (folder / 'config.json').write_text(configs.to_json(built.config))
  with Store(folder) as store:
    about = Description(built.config, built.source.label_names)
    store.save(1, jax.tree.map(np.asarray, state), about)


class _Probe:
  """A probe whose steps can be timed."""

  def __init__(self, config: configs.TrainConfig, folder: pathlib.Path):
    with contextlib.redirect_stdout(sys.stderr):
      self._built, state, _ = probes.build(config, folder, folder / 'grid')
    self._state = parallel.replicate(state)
    self._update = self._built.update()
    self._batches = None

  def run(self, batches: Iterator, steps: int) -> None:
    """Makes steps on batches, one of them in flight, as training does."""
    waiting = None
    for _ in range(steps):
      arrays = parallel.shard(inputs.arrays(next(batches)))
      arrays = arrays | self._built.fixed
      self._state, metrics = self._update(self._state, arrays)
      jax.block_until_ready(waiting)
      waiting = metrics
    jax.block_until_ready(waiting)

  def seconds_of_steps(self, steps: int) -> float:
    """Returns the seconds of steps on batches that are in memory."""
    if self._batches is None:
      with contextlib.closing(self._built.batches(0)) as batches:
        self._batches = [next(batches) for _ in range(steps)]
      self.run(iter(self._batches), steps)  # compiles
    return measure.timed(lambda: self.run(iter(self._batches), steps))

  def seconds_of_epochs(self, epochs: int) -> float:
    """Returns the seconds of epochs, with their input."""
    config, videos = self._built.config, len(self._built.source)
    steps = epochs * videos // configs.videos_per_step(config)
    with contextlib.closing(self._built.batches(0)) as batches:
      self.run(batches, 1)
      return measure.timed(lambda: self.run(batches, steps))


def _report(args: types.SimpleNamespace, folder: pathlib.Path) -> str:
  counts = {'train': args.videos, 'validation': 32, 'test': 32}
  prepare.prepare_embedded(folder / 'data', counts=counts, workers=1)
  _write_encoder(_config(folder))

  def heads(pool: str, count: int, **keys) -> _Probe:
    rates = _RATES[:count]
    config = _config(folder, pools=(pool,), learning_rates=rates, **keys)
    return _Probe(config, folder / 'probe')

  def store() -> float:
    shutil.rmtree(folder / 'once', ignore_errors=True)
    once = str(folder / 'once')
    return measure.timed(
      lambda: heads('mean', 10, tokens='stored', folder=once)
    )

  runs: dict[str, Callable[[], float]] = {'store': store}
  for pool in _POOLS:
    one, ten = heads(pool, 1), heads(pool, 10)
    stored = heads(pool, 10, tokens='stored')
    runs |= {
      f'one {pool}': functools.partial(one.seconds_of_steps, args.steps),
      f'ten {pool}': functools.partial(ten.seconds_of_steps, args.steps),
      f'through {pool}': functools.partial(ten.seconds_of_epochs, 1),
      f'stored {pool}': functools.partial(stored.seconds_of_epochs, _EPOCHS),
    }
  seconds = measure.by_turns(runs, args.rounds, warm_up=True)
  rows = []
  for pool in _POOLS:
    one, ten, through, stored = (
      seconds[f'{name} {pool}'] for name in ('one', 'ten', 'through', 'stored')
    )
    through = [_EPOCHS * x for x in through]  # ten epochs take ten times one
    rows.append(
      (
        pool,
        measure.ratio(ten, one, '<= 1.3'),
        measure.ratio(stored, through, '<= 0.1'),
      )
    )
  epoch = measure.ratio(seconds['store'], seconds['through mean'])
  header = 'pool', 'step, ten heads / one', 'ten epochs, stored / through'
  return f'{measure.table(header, rows)}\nstoring / one epoch: {epoch}\n'


def main(argv: list[str]) -> None:
  args = measure.parse(argv, _define, __doc__)
  with tempfile.TemporaryDirectory() as folder:
    report = _report(args, pathlib.Path(folder))
  print(machine.describe('jax', 'jaxlib', 'flax'), end='\n\n')
  print(report)


if __name__ == '__main__':
  measure.run(main)

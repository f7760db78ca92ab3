"""Every config resolves, and its train step runs on shapes."""

import dataclasses
import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

from vivit_jax import config as configs
from vivit_jax import models, sweeps
from vivit_jax.training import optim, step

FOLDER = pathlib.Path(__file__).parents[1] / 'configs'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
PAPER = {
  'k400_b16x2': (88_954_000, 0.1, 30),
  'k400_b16x2_fe': (115_062_928, 0.1, 30),
  'k400_b16x2_fsa': (117_319_312, 0.1, 30),
  'k400_b16x2_fdp': (88_952_464, 0.1, 30),
  'k400_b16x2_avg': (86_696_080, 0.1, 30),
  'k400_l16x2_fe': (606_827_920, 0.1, 30),
  # One class more or less is a row of 1024 weights and a bias.
  'k600_l16x2_fe': (606_827_920 + 200 * 1025, 0.1, 30),
  'mit_l16x2_fe': (606_827_920 - 95 * 1025, 0.25, 10),
  'ssv2_l16x2_fe': (606_827_920 - 226 * 1025, 0.5, 35),
  'ek100_l16x2_fe': (606_827_920 - 3 * 1025, 0.5, 50),
}


def resolved(name: str) -> configs.TrainConfig:
  module = importlib.import_module(f'configs.{name}')
  return configs.resolve(module.get_config())


@pytest.mark.parametrize('name', NAMES)
def test_a_train_step_fits_together(name):
  config = resolved(name)
  if not config.model.heads:
    config = configs.with_heads(config, {'noun': 8, 'verb': 8})
  # One block is traced for all; the number of parameters is the same.
  scanned = dataclasses.replace(config.model, scan=True)
  config = dataclasses.replace(config, model=scanned)
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 0.1, config.model)
  state = jax.eval_shape(lambda: step.initialise(model, optimiser, config))
  if name in PAPER:
    count, rate, epochs = PAPER[name]
    assert sum(x.size for x in jax.tree.leaves(state.params)) == count
    assert (config.optim.learning_rate, config.train.epochs) == (rate, epochs)
    assert config.train.batch_size == 64 and config.data.frames == 32

  update = step.train_step(model, optimiser, config)
  devices, batch = jax.local_device_count(), 2
  replicated = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((devices, *x.shape), x.dtype), state
  )
  clips = jax.ShapeDtypeStruct(
    (devices, batch, config.data.frames, *config.data.crop, 3), jnp.uint8
  )
  labels = {
    head: jax.ShapeDtypeStruct((devices, batch), jnp.int32)
    for head in config.model.heads
  }
  arrays = {'video': clips, 'labels': labels}
  if layers := config.augment.randaugment_layers:
    arrays['randaugment'] = jax.ShapeDtypeStruct(
      (devices, batch, layers, 4), jnp.float32
    )
  after, metrics = jax.eval_shape(update, replicated, arrays)
  assert jax.tree.structure(after) == jax.tree.structure(replicated)
  assert [x.shape for x in jax.tree.leaves(after)] == [
    x.shape for x in jax.tree.leaves(replicated)
  ]
  assert {f'{head}/top1' for head in config.model.heads} <= metrics.keys()


def test_randaugment_of_the_papers_table_7():
  found = {
    name: (augment.randaugment_layers, augment.randaugment_magnitude)
    for name in PAPER
    if (augment := resolved(name).augment).randaugment_layers
  }
  assert found == {'ssv2_l16x2_fe': (2, 20.0), 'ek100_l16x2_fe': (2, 15.0)}


@pytest.mark.parametrize(
  'path',
  [path for path in FOLDER.glob('*.py') if 'def sweep(' in path.read_text()],
  ids=lambda path: path.stem,
)
def test_the_runs_of_a_sweep_are_configs(path):
  runs = sweeps.plan(resolved(path.stem), str(path))
  assert len({run.name for run in runs}) == len(runs) > 1

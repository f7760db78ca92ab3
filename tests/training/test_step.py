"""The update is a property of the batch, not of the devices."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import simulated

from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.training import inputs, optim, step

ROOT = pathlib.Path(__file__).parents[2]
RATE = 0.1


def losses_on(devices: int, *arguments: str) -> dict:
  script = pathlib.Path(__file__).parent / 'losses_on_devices.py'
  done = subprocess.run(
    [sys.executable, script, *arguments],
    env=simulated.environment(devices),
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [[], ['--all']])
def test_losses_do_not_depend_on_the_number_of_devices(arguments):
  alone = losses_on(1, *arguments)
  assert len(set(alone['losses'])) == 4
  for devices in (2, 4):
    result = losses_on(devices, *arguments)
    assert result['devices'] == devices
    np.testing.assert_allclose(result['losses'], alone['losses'], rtol=1e-5)
    np.testing.assert_allclose(result['sum'], alone['sum'], rtol=1e-5)


def test_training_imports_no_tensorflow():
  code = (
    'import sys; import vivit_jax.models, vivit_jax.training;'
    'from vivit_jax.augment import device, mixing;'
    'from vivit_jax.training import losses, optim, step;'
    "print([m for m in ('tensorflow', 'tensorflow_datasets', 'clu', 'grain')"
    ' if m in sys.modules])'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.stdout.strip() == '[]', done.stderr


class Linear(nn.Module):
  """Softmax regression on the mean colour: its gradient is done by hand."""

  heads: Mapping[str, int]

  @nn.compact
  def __call__(self, video, *, train=False, example_B=None):
    del train, example_B
    classes = self.heads['label']
    x_BxK = nn.Dense(classes, name='output_projection')(video.mean((1, 2, 3)))
    return {'label': x_BxK}


def small(optim_keys: Mapping, **train) -> configs.TrainConfig:
  config = configs.default()
  config.data.frames, config.data.crop = 2, (16, 16)
  config.optim.update(optim_keys)
  config.train.update(train)
  return configs.resolve(config)


def batch_of(seed: int, batch: int = 8, classes: int = 3) -> dict:
  draw = np.random.default_rng(seed)
  return {
    'video': draw.integers(0, 256, (batch, 2, 16, 16, 3)).astype(np.uint8),
    'labels': {'label': draw.integers(0, classes, batch).astype(np.int32)},
  }


class Training:
  """Steps of a small model, and its state on the host after each."""

  def __init__(self, config, model=None, class_weights=None):
    model = model or Linear({'label': 3})
    optimiser = optim.optimiser(config.optim, lambda _: RATE)
    state = step.initialise(model, optimiser, config)
    # A head of zeros would hide what is before it.
    draw = np.random.default_rng(5)
    params = jax.tree.map(
      lambda x: x + jnp.asarray(draw.normal(0, 0.1, x.shape), x.dtype),
      state.params,
    )
    self.state = step.with_parameters(state, params, config)
    self._update = step.train_step(model, optimiser, config, class_weights)

  def step(self, batch) -> dict[str, float]:
    state, metrics = self._update(
      parallel.replicate(self.state), parallel.shard(batch)
    )
    self.state = parallel.unreplicate(state)
    return {k: float(v) for k, v in parallel.unreplicate(metrics).items()}


def by_hand(params, batch) -> dict:
  """Returns the gradient of softmax regression on the mean colour."""
  x = batch['video'].mean((1, 2, 3)) / 255 * 2 - 1
  head = {k: np.float64(v) for k, v in params['output_projection'].items()}
  logits = x @ head['kernel'] + head['bias']
  chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  error = (chance - np.eye(3)[batch['labels']['label']]) / len(x)
  return {'kernel': x.T @ error, 'bias': error.sum(0)}


def test_a_class_weighs_as_often_as_its_weight_says():
  """Of weights 1, 2 and 0: examples of class 1 twice, none of class 2."""
  weights = {'label': np.float32([1.0, 2.0, 0.0])}
  training = Training(small(PLAIN, batch_size=8), class_weights=weights)
  batch = batch_of(1)
  params = jax.tree.map(np.asarray, training.state.params)
  label = batch['labels']['label']
  assert set(label) == {0, 1, 2}
  times = np.repeat(np.arange(8), np.array([1, 2, 0])[label])
  often = {
    'video': batch['video'][times],
    'labels': {'label': label[times]},
  }
  training.step(batch)
  moved = by_hand(params, often)
  for name, gradient in moved.items():
    before = params['output_projection'][name]
    found = (before - training.state.params['output_projection'][name]) / RATE
    np.testing.assert_allclose(
      found, gradient * len(times) / 8, rtol=1e-4, atol=1e-6
    )


def test_a_mixed_example_weighs_as_its_labels_mix():
  config = configs.default()
  config.data.frames, config.data.crop = 2, (16, 16)
  config.augment.mixup = 1.0
  config = configs.resolve(config)
  weights = np.float32([0.5, 1.0, 7.0])

  def ready(batch):
    return inputs.preprocess(
      batch, jnp.int32(3), config, {'label': 3}, {'label': weights}
    )

  batch = batch_of(0, jax.local_device_count() * 6)
  found = parallel.map_over_devices(ready)(parallel.shard(batch))
  targets = np.asarray(parallel.unshard(found.targets['label']))
  assert 0 < targets.max(1).min() < 1  # there are mixed ones
  np.testing.assert_allclose(
    parallel.unshard(found.weights['label']), targets @ weights, rtol=1e-5
  )


PLAIN = {'momentum': 0.0, 'clip_norm': None}


def test_sam_descends_the_gradient_a_little_uphill():
  training = Training(small(PLAIN | {'sam_rho': 0.5}, batch_size=8))
  batch = batch_of(0)
  params = jax.tree.map(np.asarray, training.state.params)
  here = by_hand(params, batch)
  norm = np.sqrt(sum((g**2).sum() for g in here.values()))
  head = params['output_projection']
  there = by_hand(
    {'output_projection': {k: head[k] + 0.5 * here[k] / norm for k in head}},
    batch,
  )
  metrics = training.step(batch)
  after = training.state.params['output_projection']
  for key in head:
    descent = (head[key] - after[key]) / RATE
    np.testing.assert_allclose(descent, there[key], rtol=0, atol=2e-6)
    # Far more than what the comparison would let through.
    assert np.abs(there[key] - here[key]).max() > 1e-4
  expected = np.sqrt(sum((g**2).sum() for g in there.values()))
  np.testing.assert_allclose(metrics['gradient_norm'], expected, rtol=1e-5)


def test_uphill_of_a_quadratic():
  params = {'a': jnp.array([3.0]), 'b': jnp.array([2.0])}
  gradient = jax.grad(lambda p: (p['a'] ** 2 / 2 + p['b'] ** 2).sum())(params)
  found = step.uphill(params, gradient, 0.1)  # the gradient is (3, 4)
  np.testing.assert_allclose(found['a'], [3.06], rtol=1e-6)
  np.testing.assert_allclose(found['b'], [2.08], rtol=1e-6)
  flat = jax.tree.map(jnp.zeros_like, gradient)
  still = step.uphill(params, flat, 0.1)
  jax.tree.map(np.testing.assert_array_equal, still, params)


def test_the_average_of_weights_by_hand():
  training = Training(small(PLAIN, batch_size=8, ema=0.15))
  average = jax.tree.map(np.float64, training.state.params)
  for number, decay in enumerate([0.1, 0.15, 0.15]):  # 2 / 11 is above 0.15
    training.step(batch_of(number))
    average = jax.tree.map(
      lambda old, new, d=decay: d * old + (1 - d) * np.float64(new),
      average,
      training.state.params,
    )
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5),
      training.state.ema,
      average,
    )


@pytest.mark.parametrize(
  'train, evaluation, averaged',
  [(0.9, True, True), (0.9, False, False), (0.0, True, False)],
)
def test_which_weights_are_scored(train, evaluation, averaged):
  config = configs.default()
  config.train.ema, config.evaluation.ema = train, evaluation
  config = configs.resolve(config)
  state = step.TrainState(0, {'a': np.ones(2)}, ())
  state = step.with_parameters(state, {'a': np.ones(2)}, config)
  state = state.replace(params={'a': np.zeros(2)})
  assert step.evaluation_params(state, config)['a'].sum() == (
    2 if averaged else 0
  )


def tiny_vivit(**changes) -> nn.Module:
  keys = dict(
    family='factorised_encoder',
    size='Ti',
    heads={'label': 3},
    tubelet=(2, 8, 8),
    spatial_layers=1,
    temporal_layers=1,
    stochastic_depth=0.5,
    remat='full',
  )
  return models.build(reference.flat_config(**(keys | changes)))


@pytest.mark.parametrize('keys', [{}, {'sam_rho': 0.05}])
def test_parts_of_a_batch_are_the_whole_batch(keys):
  """With mixup and stochastic depth, whose draws are keyed by place."""

  def train(parts):
    config = configs.default()
    config.data.frames, config.data.crop = 2, (16, 16)
    config.data.short_side = 16
    config.augment.mixup = 0.5
    config.optim.update(keys)
    config.train.accumulate = parts
    training = Training(configs.resolve(config), tiny_vivit())
    reports = [training.step(batch_of(number)) for number in range(2)]
    return training.state.params, reports

  whole, reports = train(1)
  in_parts, same = train(4)
  for one, other in zip(reports, same):
    for key in one:
      np.testing.assert_allclose(other[key], one[key], rtol=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6),
    in_parts,
    whole,
  )


def test_frozen_parameters_stay_bit_by_bit():
  keys = {'freeze': 'kernel', 'weight_decay': 0.1, 'sam_rho': 0.1}
  training = Training(small(keys, batch_size=8, ema=0.9))
  before = jax.tree.map(np.asarray, training.state)
  for number in range(3):
    norm = training.step(batch_of(number))['gradient_norm']
  for after in (training.state.params, training.state.ema):
    head, was = after['output_projection'], before.params['output_projection']
    np.testing.assert_array_equal(head['kernel'], was['kernel'])
    assert np.abs(head['bias'] - was['bias']).max() > 1e-3
  shapes = {x.shape for x in jax.tree.leaves(training.state.opt_state)}
  assert shapes == {(3,), ()}
  # That of the bias alone, whose three errors sum to 0.
  assert 0 < norm < np.sqrt(2)


@pytest.mark.parametrize('scan', [False, True])
@pytest.mark.parametrize(
  'pattern, frozen, learns',
  [
    ('^output_projection/', 'both', {'output_projection'}),
    (
      '^output_projection/|^Temporal.*/LayerNorm_0',
      'spatial',
      {'output_projection', 'TemporalTransformer'},
    ),
  ],
)
def test_frozen_blocks_drop_nothing_and_get_no_gradient(
  pattern, frozen, learns, scan
):
  """As if stochastic depth were off there, and there alone."""
  config = small({'train': pattern, 'name': 'adamw'}, batch_size=8)

  def train(**changes):
    training = Training(config, tiny_vivit(scan=scan, **changes))
    before = jax.tree.map(np.asarray, training.state.params)
    return training, before, training.step(batch_of(0))

  training, before, report = train()
  _, _, plain = train(stochastic_depth=0.0)
  same = report['loss'] == pytest.approx(plain['loss'], rel=1e-6)
  assert same == (frozen == 'both')
  for name, part in training.state.params.items():
    changed = jax.tree.map(
      lambda x, y: bool((x != y).any()), part, before[name]
    )
    assert any(jax.tree.leaves(changed)) == (name in learns)
  whole = Training(small({'name': 'adamw'}, batch_size=8), tiny_vivit())
  size, of_all = (
    sum(x.size for x in jax.tree.leaves(t.state.opt_state))
    for t in (training, whole)
  )
  assert size < of_all / 50


def test_a_half_frozen_block_drops_as_before():
  """With every parameter of it but one frozen, a block still learns."""
  pattern = '^output_proj|encoderblock_0/LayerNorm_0/bias'
  losses = [
    Training(small(keys, batch_size=8), tiny_vivit()).step(batch_of(0))['loss']
    for keys in ({}, {'train': pattern})
  ]
  assert losses[0] == losses[1]


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lamb'])
def test_an_update_that_is_not_finite_changes_nothing(name, monkeypatch):
  """Of a finite gradient, by a rate that float32 cannot hold."""
  monkeypatch.setattr(f'{__name__}.RATE', np.float32(np.inf))
  training = Training(small({'name': name}, batch_size=8, ema=0.9))
  before = training.state
  metrics = training.step(batch_of(0))
  assert metrics['skipped'] == 1.0 and np.isfinite(metrics['gradient_norm'])
  assert training.state.step == 1
  jax.tree.map(
    np.testing.assert_array_equal,
    training.state.replace(step=before.step),
    before,
  )


def test_a_step_that_is_not_finite_changes_nothing():
  keys = {'name': 'adamw', 'sam_rho': 0.05}
  config = small(keys, batch_size=8, ema=0.9, accumulate=2)
  training = Training(config)
  labels = np.eye(3, dtype=np.float32)[batch_of(0)['labels']['label']]
  good = batch_of(0) | {'labels': {'label': labels}}
  broken = labels.copy()
  broken[5, 1] = np.nan  # one of eight, on one device of any number
  assert training.step(good)['skipped'] == 0.0
  before = training.state
  metrics = training.step(good | {'labels': {'label': broken}})
  assert metrics['skipped'] == 1.0 and np.isnan(metrics['loss'])
  assert training.state.step == 2
  jax.tree.map(
    np.testing.assert_array_equal,
    training.state.replace(step=before.step),
    before,
  )
  assert training.step(good)['skipped'] == 0.0
  assert training.state.step == 3
  moved = jax.tree.map(
    lambda x, y: np.abs(x - y).max(), training.state.params, before.params
  )
  assert min(jax.tree.leaves(moved)) > 1e-3

"""The update is a property of the batch, not of the devices."""

import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import traverse_util

from vivit_jax import parallel
from vivit_jax.models import pixels
from vivit_jax.training import inputs, optim, step

RATE = 0.1
PLAIN = {'optim__momentum': 0.0, 'optim__clip_norm': None}


class Linear(nn.Module):
  """Softmax regression on the mean colour: its gradient is done by hand."""

  heads: Mapping[str, int]
  reads_frame_numbers: bool = False

  @nn.compact
  def __call__(self, video, *, train=False, example_B=None, frame_BxT=None):
    del train, example_B, frame_BxT
    classes = self.heads['label']
    x_BxK = nn.Dense(classes, name='output_projection')(video.mean((1, 2, 3)))
    return {'label': x_BxK}


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
    self.config = config
    self.state = tiny.state(model, optimiser, config)
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
  training = Training(tiny.config(**PLAIN), class_weights=weights)
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
  config = tiny.config(augment__mixup=1.0)
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


def test_sam_descends_the_gradient_a_little_uphill():
  training = Training(tiny.config(**PLAIN, optim__sam_rho=0.5))
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
  training = Training(tiny.config(**PLAIN, train__ema=0.15))
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
  config = tiny.config(train__ema=train, evaluation__ema=evaluation)
  state = step.TrainState(0, {'a': np.ones(2)}, ())
  state = step.with_parameters(state, {'a': np.ones(2)}, config)
  state = state.replace(params={'a': np.zeros(2)})
  assert step.evaluation_params(state, config)['a'].sum() == (
    2 if averaged else 0
  )


def test_parts_of_a_batch_are_the_whole_batch():
  """With draws, which are keyed by place, and SAM's two gradients."""

  def train(parts):
    config = tiny.config(
      augment__flip=0.5,
      augment__mixup=0.5,
      optim__sam_rho=0.05,
      train__accumulate=parts,
    )
    training = Training(config, tiny.model(stochastic_depth=0.5))
    reports = [training.step(batch_of(number)) for number in range(2)]
    return training.state.params, reports

  whole, reports = train(1)
  in_parts, same = train(4)
  for one, other in zip(reports, same):
    assert other == pytest.approx(one, rel=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6),
    in_parts,
    whole,
  )


def test_frozen_parameters_stay_bit_by_bit():
  keys = {'freeze': 'kernel', 'weight_decay': 0.1, 'sam_rho': 0.1}
  keys = {f'optim__{key}': value for key, value in keys.items()}
  training = Training(tiny.config(train__ema=0.9, **keys))
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


def forward_loss(training: Training, model: nn.Module, train: bool) -> float:
  """Returns the loss of the first batch, of no step at all."""
  config, batch = training.config, batch_of(0)
  logits = jax.jit(model.apply, static_argnames='train')(
    {'params': training.state.params},
    pixels.normalise(batch['video'], config.data.mean, config.data.std),
    train=train,
    example_B=jnp.arange(8),
    rngs={'stochastic_depth': inputs.step_key(0, 0, 'network')},
  )
  labels = batch['labels']['label']
  return float(
    optax.softmax_cross_entropy_with_integer_labels(
      logits['label'], labels
    ).mean()
  )


@pytest.mark.parametrize(
  'pattern, drops, scan',
  [
    ('^output_projection/', 'nothing', False),
    ('^output_projection/|^Temporal.*/LayerNorm_0', 'in time', False),
    ('^output_projection/|^Temporal.*/LayerNorm_0', 'in time', True),
    # With every parameter of it but one frozen, a block still learns.
    ('^output_proj|encoderblock_0/LayerNorm_0/bias', 'all', False),
  ],
)
def test_frozen_blocks_drop_nothing_and_get_no_gradient(pattern, drops, scan):
  """As if stochastic depth were off there, and there alone."""
  config = tiny.config(optim__train=pattern, optim__name='adamw')
  model = tiny.model('factorised_encoder', stochastic_depth=0.5, scan=scan)
  training = Training(config, model)
  losses = {
    'all': forward_loss(training, model, train=True),
    'nothing': forward_loss(training, model, train=False),
  }
  before = flat(training.state.params)
  losses['in time'] = training.step(batch_of(0))['loss']
  same = {
    name
    for name, loss in losses.items()
    if loss == pytest.approx(losses['in time'], rel=1e-6)
  }
  assert same == {drops, 'in time'}
  after = flat(training.state.params)
  changed = {name for name, x in after.items() if (x != before[name]).any()}
  assert changed == {name for name in after if re.search(pattern, name)}
  moments = [x for x in jax.tree.leaves(training.state.opt_state) if x.ndim]
  assert sum(x.size for x in moments) == 2 * sum(
    after[name].size for name in changed
  )


def flat(params) -> dict[str, np.ndarray]:
  flat = traverse_util.flatten_dict(params, sep='/')
  return {name: np.asarray(x) for name, x in flat.items()}


@pytest.mark.parametrize('name', ['sgd', 'lamb'])
def test_an_update_that_is_not_finite_changes_nothing(name, monkeypatch):
  """Of a finite gradient, by a rate that float32 cannot hold."""
  monkeypatch.setattr(f'{__name__}.RATE', np.float32(np.inf))
  training = Training(tiny.config(optim__name=name, train__ema=0.9))
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
  config = tiny.config(
    optim__name='adamw',
    optim__sam_rho=0.05,
    train__ema=0.9,
    train__accumulate=2,
  )
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

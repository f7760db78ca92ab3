"""Schedules and rules by hand, and against optax's own; clip, freezing."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vivit_jax.config import OptimConfig
from vivit_jax.models import ModelConfig, stacking
from vivit_jax.training import optim, param_groups


def test_schedule_warms_up_linearly_then_follows_half_a_cosine():
  rate = optim.schedule(
    OptimConfig(learning_rate=0.1, warmup_epochs=2.0),
    steps=110,
    steps_per_epoch=5.0,
  )
  assert float(rate(0)) == 0.0
  assert float(rate(5)) == pytest.approx(0.05)
  assert float(rate(10)) == pytest.approx(0.1)
  assert float(rate(60)) == pytest.approx(0.05)
  assert float(rate(110)) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(
  'changes, expected',
  [
    ({'schedule': 'cosine', 'final_rate': 0.2}, [0.1, 0.06, 0.02]),
    ({'schedule': 'linear', 'final_rate': 0.2}, [0.1, 0.06, 0.02]),
    ({'schedule': 'linear'}, [0.1, 0.05, 0.0]),
    ({'schedule': 'polynomial', 'power': 3.0}, [0.1, 0.0125, 0.0]),
    ({'schedule': 'constant'}, [0.1, 0.1, 0.1]),
  ],
)
def test_schedules_after_the_same_warm_up(changes, expected):
  config = OptimConfig(learning_rate=0.1, warmup_epochs=2.0, **changes)
  rate = optim.schedule(config, steps=110, steps_per_epoch=5.0)
  found = [float(rate(step)) for step in (0, 5, 10, 60, 110)]
  np.testing.assert_allclose(found, [0.0, 0.05, *expected], atol=1e-8)


def test_a_rate_that_falls_in_steps_counts_epochs_from_the_start():
  config = OptimConfig(
    learning_rate=0.1,
    warmup_epochs=2.0,
    schedule='step',
    decay_epochs=6.0,
    decay_factor=0.5,
  )
  rate = optim.schedule(config, steps=110, steps_per_epoch=5.0)
  found = [float(rate(step)) for step in (5, 10, 29, 30, 59, 60, 90)]
  expected = [0.05, 0.1, 0.1, 0.05, 0.05, 0.025, 0.0125]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  inside = jax.jit(rate)(jnp.int32(60))
  np.testing.assert_allclose(inside, 0.025, rtol=1e-6)


def test_a_rate_that_falls_at_epochs():
  config = OptimConfig(
    learning_rate=0.1, warmup_epochs=1.0, schedule='step', decay_at=(11.0, 14.0)
  )
  # Steps are 0.4 epochs: epoch 11 begins within step 27, so at step 28.
  rate = optim.schedule(config, steps=38, steps_per_epoch=2.5)
  found = [float(rate(step)) for step in (1, 2, 27, 28, 34, 35, 38)]
  expected = [0.05, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  config = dataclasses.replace(config, warmup_epochs=0.0)
  rate = optim.schedule(config, steps=15, steps_per_epoch=1.0)
  found = [float(rate(step)) for step in (0, 10, 11, 13, 14)]
  np.testing.assert_allclose(found, [0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-6)


def test_without_a_warm_up_the_peak_is_first():
  for name in ('cosine', 'linear', 'polynomial', 'step', 'constant'):
    config = OptimConfig(schedule=name, warmup_epochs=0.0)
    rate = optim.schedule(config, steps=1, steps_per_epoch=0.2)
    assert float(rate(0)) == pytest.approx(0.1)


def test_a_warm_up_in_steps_instead_of_epochs():
  config = OptimConfig(learning_rate=0.1, warmup_epochs=9.0, warmup_steps=4)
  rate = optim.schedule(config, steps=104, steps_per_epoch=5.0)
  found = [float(rate(step)) for step in (0, 1, 4, 54, 104)]
  np.testing.assert_allclose(found, [0.0, 0.025, 0.1, 0.05, 0.0], atol=1e-8)
  config = dataclasses.replace(config, warmup_steps=0)
  rate = optim.schedule(config, steps=104, steps_per_epoch=5.0)
  assert float(rate(0)) == pytest.approx(0.1)


def test_a_schedule_of_slowfast():
  """From 1.6e-5 to 1.6e-3 in 30 epochs, half a cosine to 1e-5 until 200."""
  config = OptimConfig(
    learning_rate=1.6e-3,
    warmup_epochs=30.0,
    warmup_rate=0.01,
    final_rate=1e-5 / 1.6e-3,
  )
  rate = optim.schedule(config, steps=2000, steps_per_epoch=10.0)
  for epoch in (0, 0.1, 15, 29.9, 30, 30.1, 100, 199.9, 200):
    expected = 1.6e-5 + (1.6e-3 - 1.6e-5) * epoch / 30
    if epoch >= 30:
      share = (math.cos(math.pi * (epoch - 30) / (200 - 30)) + 1) / 2
      expected = 1e-5 + (1.6e-3 - 1e-5) * share
    assert float(rate(round(10 * epoch))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_epsilon_is_beside_the_root_of_the_second_moment(name):
  """The first step of Adam is g / (|g| + epsilon), after its corrections."""
  config = OptimConfig(name=name, clip_norm=None, epsilon=0.5)
  optimiser = optim.optimiser(config, lambda _: 1.0)
  params = {'a': {'kernel': jnp.array([2.0])}}
  gradient = {'a': {'kernel': jnp.array([0.25])}}
  updates, _ = optimiser.update(gradient, optimiser.init(params), params)
  expected = -0.25 / (0.25 + 0.5)
  np.testing.assert_allclose(updates['a']['kernel'], [expected], rtol=1e-5)


def test_epsilon_of_lamb_is_in_the_direction():
  config = OptimConfig(name='lamb', clip_norm=None, epsilon=0.5)
  optimiser = optim.optimiser(config, lambda _: 1.0)
  params = {'a': {'kernel': jnp.array([3.0, 4.0])}}
  gradient = {'a': {'kernel': jnp.array([0.5, 1.0])}}
  updates, _ = optimiser.update(gradient, optimiser.init(params), params)
  direction = np.array([0.5 / 1.0, 1.0 / 1.5])
  expected = -5.0 * direction / np.linalg.norm(direction)
  np.testing.assert_allclose(updates['a']['kernel'], expected, rtol=1e-5)


def test_sgd_with_momentum_and_clip_by_hand():
  config = OptimConfig(name='sgd', momentum=0.9, clip_norm=1.0)
  optimiser = optim.optimiser(config, lambda _: 0.1)
  params = {'dense': {'kernel': jnp.array([3.0, 4.0])}}
  gradient = {'dense': {'kernel': jnp.array([3.0, 4.0])}}  # norm 5
  state = optimiser.init(params)
  first, state = optimiser.update(gradient, state, params)
  second, state = optimiser.update(gradient, state, params)
  np.testing.assert_allclose(
    first['dense']['kernel'], [-0.06, -0.08], rtol=1e-6
  )
  np.testing.assert_allclose(
    second['dense']['kernel'], [-0.114, -0.152], rtol=1e-6
  )


@pytest.mark.parametrize('on', ['kernels', 'all'])
def test_weight_decay_of_every_parameter_as_torch_has_it(on):
  """With Nesterov's momentum, and a rate that falls."""
  config = OptimConfig(
    nesterov=True, clip_norm=None, weight_decay=0.1, weight_decay_on=on
  )
  rates = [0.5, 0.5, 0.05]
  optimiser = optim.optimiser(config, lambda step: jnp.array(rates)[step])
  start = {'a': {'kernel': jnp.array([3.0, -4.0]), 'bias': jnp.array([2.0])}}
  gradient = {'a': {'kernel': jnp.array([1.0, 0.5]), 'bias': jnp.array([-3.0])}}
  params, state = start, optimiser.init(start)
  for _ in rates:
    updates, state = optimiser.update(gradient, state, params)
    params = optax.apply_updates(params, updates)

  def by_hand(x, g, decay):
    trace = 0.0
    for rate in rates:
      step = g + decay * x
      trace = 0.9 * trace + step
      x = x - rate * (step + 0.9 * trace)
    return x

  decays = {'kernel': 0.1, 'bias': 0.1 if on == 'all' else 0.0}
  for name, x in start['a'].items():
    expected = by_hand(np.array(x), np.array(gradient['a'][name]), decays[name])
    np.testing.assert_allclose(params['a'][name], expected, rtol=1e-5)
  if on == 'all':
    torch = pytest.importorskip('torch')
    xs = [torch.tensor(np.array(x)) for x in start['a'].values()]
    rule = torch.optim.SGD(xs, 1.0, 0.9, weight_decay=0.1, nesterov=True)
    for rate in rates:
      rule.param_groups[0]['lr'] = rate
      for x, g in zip(xs, gradient['a'].values()):
        x.grad = torch.tensor(np.array(g))
      rule.step()
    for x, expected in zip(xs, params['a'].values()):
      np.testing.assert_allclose(x, expected, rtol=1e-5)


MODEL = ModelConfig('joint', options={'layers': 3})
PARAMS = {
  'a': {'kernel': jnp.array([[3.0, -4.0], [1.0, 0.5]]), 'bias': jnp.zeros(2)},
  'b': {'kernel': jnp.array([[0.2], [0.7]]), 'bias': jnp.array([0.3])},
}


def kernels(params):
  return {name: {'kernel': True, 'bias': False} for name in params}


def run(optimiser, params, names=None, steps=3):
  """Makes steps, in which only some of the parameters learn."""
  state = optimiser.init(params)
  learned = {name: params[name] for name in names or params}
  for number in range(steps):
    gradient = jax.tree.map(lambda x, n=number: jnp.sin(3 * x + n), learned)
    updates, state = optimiser.update(gradient, state, learned)
    learned = optax.apply_updates(learned, updates)
  return learned


@pytest.mark.parametrize(
  'changes, expected',
  [
    (
      {'name': 'adam'},
      optax.chain(
        optax.add_decayed_weights(0.1, kernels), optax.adam(0.1, 0.8, 0.99)
      ),
    ),
    (
      {'name': 'adamw'},
      optax.adamw(0.1, 0.8, 0.99, weight_decay=0.1, mask=kernels),
    ),
    (
      {'name': 'lion'},
      optax.lion(0.1, 0.8, 0.99, weight_decay=0.1, mask=kernels),
    ),
    (
      {'name': 'lamb'},
      optax.lamb(0.1, 0.8, 0.99, weight_decay=0.1, mask=kernels),
    ),
    (
      {'name': 'lars', 'nesterov': True},
      optax.lars(
        0.1,
        weight_decay=0.1,
        weight_decay_mask=kernels,
        trust_ratio_mask=kernels,
        momentum=0.7,
        nesterov=True,
      ),
    ),
    (
      {'name': 'sgd', 'nesterov': True},
      optax.chain(
        optax.add_decayed_weights(0.1, kernels), optax.sgd(0.1, 0.7, True)
      ),
    ),
  ],
)
def test_rules_are_those_of_optax(changes, expected):
  config = OptimConfig(
    b1=0.8, b2=0.99, momentum=0.7, weight_decay=0.1, **changes
  )
  config = dataclasses.replace(config, clip_norm=0.5)
  found = run(optim.optimiser(config, lambda _: 0.1), PARAMS)
  clipped = optax.chain(optax.clip_by_global_norm(0.5), expected)
  by_hand = run(clipped, PARAMS)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, by_hand
  )


def test_nesterov_by_hand():
  config = OptimConfig(nesterov=True, momentum=0.5, clip_norm=None)
  optimiser = optim.optimiser(config, lambda _: 0.1)
  params = {'a': {'kernel': jnp.array([1.0])}}
  state = optimiser.init(params)
  first, state = optimiser.update(params, state, params)
  second, state = optimiser.update(params, state, params)
  np.testing.assert_allclose(first['a']['kernel'], [-0.15], rtol=1e-6)
  np.testing.assert_allclose(second['a']['kernel'], [-0.175], rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lamb', 'lars'])
def test_stacked_layers_are_updated_as_one_by_one(name):
  draw = np.random.default_rng(1)
  apart = {
    'Transformer': {
      f'encoderblock_{n}': {
        'Dense_0': {
          'kernel': np.float32(10.0**n * draw.normal(size=(4, 3))),
          'bias': np.float32(draw.normal(size=3)),
        }
      }
      for n in range(3)
    },
    'output_projection': {'kernel': np.float32(draw.normal(size=(3, 2)))},
  }
  config = OptimConfig(
    name=name,
    weight_decay=0.1,
    layer_decay=0.6,
    backbone_rate=0.5,
    freeze='bias',
  )
  gradient = jax.tree.map(lambda x: np.sin(3.0 * x), apart)

  def step(params, gradient):
    optimiser = optim.optimiser(config, lambda _: 0.1, MODEL)
    state = optimiser.init(params)
    chosen = param_groups.trainable(params, config)
    for _ in range(2):
      updates, state = optimiser.update(
        param_groups.select(gradient, chosen),
        state,
        learned := param_groups.select(params, chosen),
      )
      params = param_groups.merge(params, optax.apply_updates(learned, updates))
    return jax.tree.map(np.asarray, params)

  one_by_one = step(apart, gradient)
  together = step(stacking.stack(apart), stacking.stack(gradient))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
    one_by_one,
    stacking.unstack(together),
  )


def test_a_layers_rate_is_scaled_after_the_rule():
  params = {
    'embedding': {'kernel': jnp.array([1.0])},
    'Transformer': {'encoderblock_0': {'Dense_0': {'bias': jnp.array([1.0])}}},
    'output_projection': {'bias': jnp.array([1.0])},
  }
  config = OptimConfig(name='adamw', layer_decay=0.5, weight_decay=1.0)
  model = ModelConfig('joint', options={'layers': 1})
  optimiser = optim.optimiser(config, lambda _: 0.1, model)
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimiser.update(zero, optimiser.init(params), params)
  # The decay of the kernel is scaled too, as the rate that it is part of.
  np.testing.assert_allclose(updates['embedding']['kernel'], [-0.025])
  same = jax.tree.map(jnp.ones_like, params)
  updates, _ = optimiser.update(same, optimiser.init(params), params)
  found = [float(x[0]) for x in jax.tree.leaves(updates)]
  np.testing.assert_allclose(found, [-0.05, -0.05, -0.1], rtol=1e-4)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_a_backbone_learns_as_a_group_of_a_tenth_of_the_rate(name):
  """As torch.optim: the group's rate replaces the rate, also of the decay."""
  block = {'encoderblock_0': {'Dense_0': {'kernel': jnp.array([[2.0, -3.0]])}}}
  params = {
    'Transformer': block,
    'output_projection': {'kernel': jnp.array([[1.0], [0.5]])},
  }
  config = OptimConfig(name=name, weight_decay=0.2, backbone_rate=0.1)
  config = dataclasses.replace(config, clip_norm=None)
  found = run(optim.optimiser(config, lambda _: 0.1), params, steps=4)

  def by_hand(x, rate):
    x, first, second = np.float64(x), 0.0, 0.0
    for step in range(4):
      g = np.sin(3 * x + step)
      if name == 'sgd':
        first = 0.9 * first + g + 0.2 * x
        x = x - rate * first
        continue
      first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
      mean, square = (
        first / (1 - 0.9 ** (step + 1)),
        second / (1 - 0.999 ** (step + 1)),
      )
      x = x - rate * 0.2 * x - rate * mean / (np.sqrt(square) + 1e-8)
    return x

  for key, rate in (('Transformer', 0.01), ('output_projection', 0.1)):
    (x,), (start,) = jax.tree.leaves(found[key]), jax.tree.leaves(params[key])
    np.testing.assert_allclose(x, by_hand(start, rate), rtol=1e-4)


def test_rates_of_layers_and_of_the_backbone_are_multiplied():
  params = {
    'embedding': {'kernel': jnp.array([1.0])},
    'Transformer': {'encoderblock_0': {'Dense_0': {'bias': jnp.array([1.0])}}},
    'pre_logits': {'kernel': jnp.array([1.0])},
  }
  config = OptimConfig(momentum=0.0, layer_decay=0.5, backbone_rate=0.1)
  config = dataclasses.replace(config, clip_norm=None)
  model = ModelConfig('joint', options={'layers': 1})
  optimiser = optim.optimiser(config, lambda _: 1.0, model)
  updates, _ = optimiser.update(params, optimiser.init(params), params)
  found = [float(x[0]) for x in jax.tree.leaves(updates)]
  np.testing.assert_allclose(found, [-0.05, -0.025, -1.0], rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lars'])
def test_frozen_parameters_stay_and_have_no_memory(name):
  config = OptimConfig(name=name, weight_decay=0.1, freeze='^a/', clip_norm=1.0)
  optimiser = optim.optimiser(config, lambda _: 0.1)
  whole = dataclasses.replace(config, freeze=None)
  alone = run(optim.optimiser(whole, lambda _: 0.1), {'b': PARAMS['b']})
  found = run(optimiser, PARAMS, ['b'])
  jax.tree.map(np.testing.assert_array_equal, found, alone)
  state = optimiser.init(PARAMS)
  assert {x.shape for x in jax.tree.leaves(state)} == {(), (2, 1), (1,)}


@pytest.mark.parametrize(
  'changes',
  [
    *({'name': name} for name in ('sgd', 'adamw', 'lion')),
    {'name': 'lars', 'clip_norm': 1.0, 'freeze': 'kernel', 'layer_decay': 0.5},
  ],
)
def test_updates_are_counted(changes):
  config = OptimConfig(schedule='constant', **changes)
  rate = optim.schedule(config, steps=10, steps_per_epoch=1.0)
  optimiser = optim.optimiser(config, rate, MODEL)
  layer = {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)}
  params = {'Transformer': {'encoderblock_0': layer, 'encoder_norm': layer}}
  state = optimiser.init(params)
  learned = param_groups.select(params, param_groups.trainable(params, config))
  for made in range(3):
    assert int(optim.updates_made(state)) == made
    _, state = optimiser.update(learned, state, learned)


def test_the_rates_of_all_steps_by_hand():
  config = OptimConfig(learning_rate=0.8, warmup_steps=2, schedule='linear')
  rate = optim.schedule(config, steps=6, steps_per_epoch=1.0)
  found = optim.rates(rate, 6)
  np.testing.assert_allclose(found, [0, 0.4, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-7)
  each = [float(rate(step)) for step in range(7)]
  np.testing.assert_allclose(found, each, rtol=1e-6, atol=1e-9)

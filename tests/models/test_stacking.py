"""Scan and remat change how a model is computed, not what it computes."""

import functools

import jax
import numpy as np
import optax
import plain
import pytest
import reference

from vivit_jax.models import stacking

VIDEO = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3))


def model_and_params(name, **changes):
  """Returns a model and random unstacked parameters."""
  model = reference.model(name, **changes)
  return model, plain.parameters(model, VIDEO, scale=0.1)


@functools.cache
def loss_and_gradient(scan, remat):
  """Returns loss and gradient, of unstacked parameters, of two layers."""
  model, params = model_and_params(
    'model1_joint', layers=2, scan=scan, remat=remat
  )

  @jax.jit
  @jax.value_and_grad
  def step(params):
    return (model.apply({'params': params}, VIDEO)['label'] ** 2).mean()

  with jax.default_matmul_precision('highest'):
    loss, gradient = step(stacking.stack(params) if scan else params)
  return loss, stacking.unstack(gradient)


@pytest.mark.parametrize('scan, remat', [(False, 'dots'), (True, 'full')])
def test_scan_and_remat_give_the_same_loss_and_gradient(scan, remat):
  loss, gradient = loss_and_gradient(False, 'none')
  found_loss, found = loss_and_gradient(scan, remat)
  np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
    found,
    gradient,
  )


def test_two_encoders_in_a_row_drop_the_same_branches():
  """Each scans its own blocks, and draws its own stochastic depth."""
  keys = {'spatial_layers': 2, 'temporal_layers': 1, 'stochastic_depth': 0.5}
  name = 'model2_factorised_encoder'
  model, params = model_and_params(name, **keys)
  scanned, _ = model_and_params(name, scan=True, **keys)

  apply, apply_scanned = (
    jax.jit(
      lambda params, key, model=model: model.apply(
        {'params': params},
        VIDEO,
        train=True,
        example_B=np.arange(len(VIDEO)) + 5,
        rngs={'stochastic_depth': key},
      )['label']
    )
    for model in (model, scanned)
  )
  key, other = jax.random.key(3), jax.random.key(4)
  expected = apply(params, key)
  found = apply_scanned(stacking.stack(params), key)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  assert np.abs(apply(params, other) - expected).max() > 1e-2


@pytest.mark.parametrize('name', reference.MODELS)
def test_scanned_layers_have_the_stacked_parameters(name):
  params = reference.parameters(name)
  video = reference.golden(name)['video']
  model = reference.model(name, scan=True)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  stacked = stacking.stack(params)
  assert jax.tree.map(np.shape, stacked) == jax.tree.map(np.shape, shapes)
  jax.tree.map(np.testing.assert_array_equal, stacking.unstack(stacked), params)


def test_remat_computes_again():
  """Otherwise the option would do nothing."""
  products = {}
  for remat in ('none', 'dots', 'full'):
    model, params = model_and_params('model1_joint', layers=1, remat=remat)

    def loss(params, model=model):
      return model.apply({'params': params}, VIDEO)['label'].mean()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params)
    products[remat] = str(jaxpr).count('dot_general')
  assert products['none'] < products['dots'] <= products['full']


def test_an_optimisers_state_is_unstacked_and_stacked_again():
  params = stacking.stack(reference.parameters('model2_factorised_encoder'))
  state = optax.adamw(0.1).init(params)
  apart = stacking.unstack(state)
  names = apart[0].mu['SpatialTransformer'].keys()
  assert {'encoderblock_0', 'encoderblock_2'} <= names
  assert 'encoderblock' not in names
  again = stacking.stack(apart)
  jax.tree.map(np.testing.assert_array_equal, again, state)


def test_layers_of_two_digits_keep_their_order():
  blocks = {f'encoderblock_{n}': {'x': np.full(2, n)} for n in range(12)}
  stacked = stacking.stack(blocks)['encoderblock']['x']
  assert stacked[:, 0].tolist() == list(range(12))

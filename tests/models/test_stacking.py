"""Scan and remat change how a model is computed, not what it computes."""

import functools

import jax
import numpy as np
import optax
import pytest
import reference

from vivit_jax.models import stacking

DROPPING = {'stochastic_depth': 0.5}
FULL = 'model3_factorised_self_attention'


def loss_of(name, **changes):
  """Returns parameters -> the loss of a step's forward pass."""
  video = reference.golden(name)['video']
  model = reference.model(name, **changes)

  def loss(params):
    logits = model.apply(
      {'params': params},
      video,
      train=True,
      example_B=np.arange(len(video)) + 5,
      rngs={'stochastic_depth': jax.random.key(3)},
    )['label']
    return (logits**2).mean()

  return loss


def loss_and_gradient(params, **changes):
  """Returns loss and gradient of `FULL` with stochastic depth."""
  loss = loss_of(FULL, **DROPPING, **changes)
  with jax.default_matmul_precision('highest'):
    return jax.jit(jax.value_and_grad(loss))(params)


@functools.cache
def unrolled():
  """Returns loss and gradient of layers neither stacked nor rematerialised."""
  return loss_and_gradient(reference.parameters(FULL))


@pytest.mark.parametrize(
  'scan, remat', [(True, 'none'), (False, 'dots'), (True, 'full')]
)
def test_scan_and_remat_give_the_same_loss_and_gradient(scan, remat):
  params = reference.parameters(FULL)
  loss, gradient = unrolled()
  other, found = loss_and_gradient(
    stacking.stack(params) if scan else params, scan=scan, remat=remat
  )
  np.testing.assert_allclose(other, loss, rtol=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
    stacking.unstack(found),
    gradient,
  )


def test_two_encoders_in_a_row_give_the_same_loss():
  """Each scans its own blocks, and draws its own stochastic depth."""
  name = 'model2_factorised_encoder'
  params = reference.parameters(name)
  loss = jax.jit(loss_of(name, **DROPPING))(params)
  scanned = loss_of(name, scan=True, **DROPPING)
  found = jax.jit(scanned)(stacking.stack(params))
  np.testing.assert_allclose(found, loss, rtol=1e-5)
  plain = jax.jit(loss_of(name))(params)
  assert abs(plain - loss) > 1e-3 * loss  # something was dropped


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
  name = 'model1_joint'
  params = reference.parameters(name)
  video = reference.golden(name)['video']
  flops = {}
  for remat in ('none', 'dots', 'full'):
    model = reference.model(name, remat=remat)

    def loss(params, model=model):
      return model.apply({'params': params}, video)['label'].mean()

    jaxpr = str(jax.make_jaxpr(jax.grad(loss))(params))
    flops[remat] = jaxpr.count('dot_general')
  assert flops['none'] < flops['dots'] <= flops['full']


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

"""Models 3 and 4 against plain NumPy, and what may depend on what."""

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax.models import blocks
from vivit_jax.models.vivit import factorised_dot_product as fdp
from vivit_jax.models.vivit import factorised_self_attention as fsa

BLOCKS = {
  'model3_factorised_self_attention': plain.self_attention_block,
  'model4_factorised_dot_product': plain.dot_product_block,
}


@pytest.mark.parametrize('order', ['space_time', 'time_space'])
@pytest.mark.parametrize('name', BLOCKS)
def test_logits_are_those_of_the_equations(name, order):
  video = reference.golden(name)['video'][:1, :, :32]  # not square
  model = reference.model(name, order=order, layers=2)
  params = plain.parameters(model, video)
  with jax.default_matmul_precision('highest'):
    found = jax.jit(model.apply)({'params': params}, video)['label'][0]
  expected = plain.logits(video[0], params, BLOCKS[name], order)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=1e-5 * scale)


GRID = (3, 2, 4)
OPTIONS = blocks.Options(attention_heads=4, mlp=8)


def dependence(function, width=16):
  """Returns whether token n depends on token m, bool [n, m] as grids."""
  x = jax.random.normal(jax.random.key(0), (1, np.prod(GRID), width))
  jacobian = jax.jit(jax.jacobian(function))(x)[0, :, :, 0]  # n, D, m, D
  depends = np.abs(jacobian).max(axis=(1, 3)) > 0
  return depends.reshape(*GRID, *GRID)


def same(axis):
  """Returns whether two tokens share their temporal index, or their place."""
  t, h, w = np.indices(GRID)
  code = t if axis == 'time index' else h * GRID[2] + w
  return np.equal.outer(code, code)


def test_dot_product_attention_sees_its_row_and_column_alone():
  block = fdp.FactorisedDotProductBlock(OPTIONS, GRID)
  x = jnp.zeros((1, np.prod(GRID), 16))
  params = plain.parameters(block, x, None)
  depends = dependence(lambda x: block.apply({'params': params}, x, None))
  np.testing.assert_array_equal(depends, same('time index') | same('place'))


@pytest.mark.parametrize(
  'kind, expected', [('space', 'time index'), ('time', 'place')]
)
def test_self_attention_along_one_axis_sees_that_axis_alone(kind, expected):
  x = jnp.zeros((1, np.prod(GRID), 16))
  block = fsa.FactorisedSelfAttentionBlock(OPTIONS, GRID, 'space_time')
  params = plain.parameters(block, x, None)
  other = {'space': 'time', 'time': 'space'}[kind]
  silent = params[f'MultiHeadDotProductAttention_{other}']['out']
  silent['kernel'] = np.zeros_like(silent['kernel'])
  depends = dependence(lambda x: block.apply({'params': params}, x, None))
  np.testing.assert_array_equal(depends, same(expected))


@pytest.mark.parametrize(
  'temporal_init, zero',
  [('zero_output', ['out']), ('zero_all', ['query', 'key', 'value', 'out'])],
)
def test_the_temporal_branch_begins_silent(temporal_init, zero):
  """And of the two, only the zero output lets the whole branch learn."""
  x = jax.random.normal(jax.random.key(1), (2, np.prod(GRID), 16))
  block = fsa.FactorisedSelfAttentionBlock(
    OPTIONS, GRID, temporal_init=temporal_init
  )
  name = 'MultiHeadDotProductAttention_time'

  @jax.jit  # compiles those alone
  def initial_kernels(key):
    attention = block.init(key, x, None)['params'][name]
    return {part: attention[part]['kernel'] for part in zero}

  params = plain.parameters(block, x, None)
  for part in params[name].values():
    part['bias'] = np.zeros_like(part['bias'])
  for part, kernel in initial_kernels(jax.random.key(0)).items():
    params[name][part]['kernel'] = kernel

  def apply(params, x):
    return block.apply({'params': params}, x, None)

  depends = dependence(lambda x: apply(params, x))
  np.testing.assert_array_equal(depends, same('time index'))

  @jax.jit
  def step(params):
    gradient = jax.grad(lambda p: ((apply(p, x) - 1) ** 2).mean())(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

  after = step(step(step(params)))
  moved = {
    part: bool(np.any(after[name][part]['kernel'] != start['kernel']))
    for part, start in params[name].items()
  }
  learns = temporal_init == 'zero_output'
  assert moved == dict.fromkeys(('query', 'key', 'value', 'out'), learns)

"""Products of tokens and weights are dot_general's, without its copies."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.models.products import matrix_product

_DENSE = (((2,), (0,)), ((), ()))
_OUT = (((2, 3), (0, 1)), ((), ()))
_PATCHES = (((1, 2, 3), (0, 1, 2)), ((), ()))


def _random(*shape: int) -> jax.Array:
  draw = np.random.default_rng(len(shape))
  return jnp.asarray(draw.standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(
  ('tokens', 'kernel', 'numbers'),
  (
    pytest.param((2, 5, 6), (6, 4), _DENSE, id='dense'),
    pytest.param((2, 5, 6), (6, 3, 2), _DENSE, id='query'),
    pytest.param((2, 5, 3, 2), (3, 2, 7), _OUT, id='out'),
    pytest.param((2, 3, 4, 5), (3, 4, 5, 7), _PATCHES, id='patches'),
    pytest.param((0, 5, 6), (6, 3, 2), _DENSE, id='no clips'),
  ),
)
def test_products_and_gradients_are_those_of_dot_general(
  tokens, kernel, numbers
):
  x, w = _random(*tokens), _random(*kernel)
  expected, pull = jax.vjp(
    lambda x, w: jax.lax.dot_general(x, w, numbers), x, w
  )
  found, pull_ours = jax.vjp(lambda x, w: matrix_product(x, w, numbers), x, w)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
  back = _random(*expected.shape)
  for ours, theirs in zip(pull_ours(back), pull(back)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)


def test_sums_of_bfloat16_are_of_the_type_asked_for():
  x, w = (_random(*shape).astype(jnp.bfloat16) for shape in ((2, 64), (64, 3)))
  found = matrix_product(
    x, w, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32
  )
  exact = np.asarray(x, np.float64) @ np.asarray(w, np.float64)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'numbers',
  (
    (((1,), (0,)), ((), ())),
    (((2,), (1,)), ((), ())),
    (((3, 2), (0, 1)), ((), ())),
    (((3,), (1,)), ((0,), (0,))),
  ),
)
def test_other_products_are_refused(numbers):
  with pytest.raises(ValueError, match='dimension_numbers'):
    matrix_product(_random(2, 3, 3, 3), _random(3, 3, 2), numbers)


def test_tokens_are_not_copied_for_the_gradient_of_weights():
  def copies(product):
    def gradient(x, w, back):
      return jax.vjp(lambda x, w: product(x, w, _DENSE), x, w)[1](back)

    shapes = ((4, 50, 96), (96, 6, 16), (4, 50, 6, 16))
    compiled = jax.jit(gradient).lower(*(_random(*s) for s in shapes)).compile()
    return len(re.findall(r' copy\(', compiled.as_text()))

  if jax.default_backend() != 'cpu':
    pytest.skip('what is counted is what XLA makes for CPUs')
  assert copies(matrix_product) == 0 < copies(jax.lax.dot_general)

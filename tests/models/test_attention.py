"""All forms of attention compute the same, forwards and backwards."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.models import attention


def _random(seed, length, dtype=jnp.float32):
  draw = np.random.default_rng(seed)
  return [
    jnp.asarray(draw.normal(size=(2, length, 3, 8)), dtype) for _ in range(3)
  ]


@pytest.mark.parametrize('length', [1, 5, 256, 257, 600])
@pytest.mark.parametrize('kind', ['auto', 'plain', 'chunked'])
def test_forms_are_flaxs_attention(kind, length):
  inputs = _random(length, length)
  weight = jnp.asarray(np.random.default_rng(0).normal(size=inputs[0].shape))

  def loss(function):
    return jax.value_and_grad(
      lambda inputs: jnp.sum(weight * function(*inputs))
    )(inputs)

  with jax.default_matmul_precision('float32'):
    loss_of, gradient_of = loss(
      lambda q, k, v: attention.attend(q, k, v, kind=kind)
    )
    expected, expected_gradient = loss(nn.dot_product_attention)
  np.testing.assert_allclose(loss_of, expected, rtol=1e-4, atol=1e-4)
  for ours, theirs in zip(gradient_of, expected_gradient):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', ['plain', 'chunked'])
def test_further_axes_are_batches(kind):
  query, key, value = (x[:, None].repeat(4, axis=1) for x in _random(0, 7))
  query = query * jnp.arange(4.0)[:, None, None, None]
  found = attention.attend(query, key, value, kind=kind)
  for place in range(4):
    alone = attention.attend(
      query[:, place], key[:, place], value[:, place], kind=kind
    )
    np.testing.assert_allclose(found[:, place], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', ['plain', 'chunked'])
def test_softmax_of_bfloat16_is_in_float32(kind):
  """1000 scores that are all the same but one: bfloat16 cannot sum them."""
  query = jnp.zeros((1, 1000, 1, 8), jnp.bfloat16)
  value = jnp.ones((1, 1000, 1, 8), jnp.bfloat16)
  found = attention.attend(query, query, value, kind=kind)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(found.astype(np.float32), 1.0, atol=4e-3)


def test_large_scores_do_not_overflow():
  query, key, value = (100.0 * x for x in _random(0, 300))
  plain = attention.attend(query, key, value, kind='plain')
  chunked = attention.attend(query, key, value, kind='chunked')
  assert np.isfinite(chunked).all()
  np.testing.assert_allclose(chunked, plain, rtol=1e-4, atol=1e-3)


def test_scores_of_all_pairs_are_never_together():
  """In the chunked form, forwards and backwards: no array of N x N."""
  shape = jax.ShapeDtypeStruct((1, 2048, 1, 8), jnp.float32)

  def largest(kind):
    def loss(query, key, value):
      return jnp.sum(attention.attend(query, key, value, kind=kind) ** 2)

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(shape, shape, shape)
    return compiled.compile().memory_analysis().temp_size_in_bytes

  assert largest('plain') >= 2048 * 2048 * 4
  assert largest('chunked') < 2048 * 2048 * 4

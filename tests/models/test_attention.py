"""All implementations of attention agree, forwards and backwards."""

import functools
import math
import re
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.models import attention

KINDS = ['plain', 'chunked']


def _random(seed, length):
  draw = np.random.default_rng(seed)
  shape = (2, length, 3, 8)
  return [jnp.asarray(draw.normal(size=shape), jnp.float32) for _ in range(3)]


@pytest.mark.parametrize('length, keys', [
  (1, 1), (99, 99), (600, 600), (600, 300),
])  # fmt: skip
@pytest.mark.parametrize('kind', KINDS)
def test_results_and_gradients_are_those_of_flax(
  kind, length, keys, monkeypatch
):
  # 6 heads in all: 3 at a time of length 99, 250 queries of one of length 600.
  monkeypatch.setattr(attention, '_CHUNK_SCORES', {'cpu': 150_000})
  inputs = _random(length, length)
  inputs[1:] = (x[:, :keys] for x in inputs[1:])
  weight = np.random.default_rng(0).normal(size=inputs[0].shape)

  def results(function):
    def loss(inputs):
      out = function(*inputs)
      return jnp.sum(weight * out), out

    return jax.jit(jax.grad(loss, has_aux=True))(inputs)

  with jax.default_matmul_precision('float32'):
    found = results(functools.partial(attention.attend, kind=kind))
    expected = results(nn.dot_product_attention)
  for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', [*KINDS, 'flax'])
def test_further_axes_are_batches(kind):
  query, key, value = (x[:, None].repeat(4, axis=1) for x in _random(0, 7))
  query = query * jnp.arange(4.0)[:, None, None, None]
  found = attention.attend(query, key, value, kind=kind)
  for place in range(4):
    alone = attention.attend(
      query[:, place], key[:, place], value[:, place], kind=kind
    )
    np.testing.assert_allclose(found[:, place], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', [*KINDS, 'flax'])
def test_softmax_of_bfloat16_is_in_float32(kind):
  """1000 scores that are all the same but one: bfloat16 cannot sum them."""
  query = jnp.zeros((1, 1000, 1, 8), jnp.bfloat16)
  value = jnp.ones((1, 1000, 1, 8), jnp.bfloat16)
  found = attention.attend(query, query, value, kind=kind)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(found.astype(np.float32), 1.0, atol=4e-3)


@pytest.mark.parametrize('kind', KINDS)
def test_large_scores_do_not_overflow(kind):
  query, key, value = (100.0 * x for x in _random(0, 300))
  found = attention.attend(query, key, value, kind=kind)
  with jax.default_matmul_precision('float32'):
    expected = nn.dot_product_attention(query, key, value)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_scores_of_all_pairs_are_never_together():
  """In the chunked form, forwards and backwards: no array of N x N a head."""
  shape = jax.ShapeDtypeStruct((1, 2048, 4, 8), jnp.float32)
  scores = 4 * 2048**2 * 4  # of four heads, bytes

  def most(kind):
    def loss(query, key, value):
      return jnp.sum(attention.attend(query, key, value, kind=kind) ** 2)

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    compiled = gradient.lower(shape, shape, shape).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert most('plain') >= scores
  assert most('chunked') < scores


def test_a_chunk_has_no_more_scores_than_allowed(monkeypatch):
  """7 heads are prime, and a length of 50: one head at a time, or all."""
  inputs = [jnp.ones((1, 50, 7, 8))] * 3

  def largest(most):
    monkeypatch.setattr(attention, '_CHUNK_SCORES', {'cpu': most})
    traced = jax.make_jaxpr(lambda *x: attention.attend(*x, kind='chunked'))
    shapes = re.findall(r'f32\[([\d,]+)\] = exp ', str(traced(*inputs)))
    return [math.prod(map(int, shape.split(','))) for shape in shapes]

  assert largest(7 * 2500) == [7 * 2500]
  assert largest(6 * 2500) == [2500]
  assert largest(2000) == [25 * 50]


def test_a_bias_is_added_to_the_scores():
  """Of one query and two keys whose scores are 0: a softmax of the bias."""
  query, value = jnp.ones((1, 1, 2, 1)), jnp.eye(2)[None, :, None]
  bias = jnp.log(jnp.array([[[1.0, 3.0]], [[1.0, 1.0]]]))[None]
  key = jnp.zeros((1, 2, 2, 1))
  value = value.repeat(2, axis=2)
  found = attention.attend(query, key, value, kind='plain', bias=bias)
  np.testing.assert_allclose(found[0, 0], [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)


def test_the_fused_kernel_needs_a_gpu_and_bfloat16(monkeypatch):
  def attend(dtype):
    inputs = [jnp.zeros((1, 8, 2, 8), dtype)] * 3
    return attention.attend(*inputs, kind='cudnn')

  with pytest.raises(UserError, match='model.attention.*cpu'):
    attend(jnp.bfloat16)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  with pytest.raises(UserError, match='float32'):
    attend(jnp.float32)
  monkeypatch.setattr(
    jax.nn, 'dot_product_attention', lambda q, k, v, implementation: v
  )
  assert attend(jnp.bfloat16).shape == (1, 8, 2, 8)


def test_no_sequences_have_no_results():
  inputs = [jnp.zeros((0, 300, 3, 8))] * 3
  assert attention.attend(*inputs, kind='chunked').shape == (0, 300, 3, 8)


def test_an_unknown_kind_is_an_error():
  with pytest.raises(ValueError, match="'flash'"):
    attention.attend(*_random(0, 3), kind='flash')


@pytest.mark.parametrize(
  ('capability', 'kind'),
  [('7.0', 'plain'), ('8.0', 'cudnn'), ('10.0', 'cudnn'), ('gfx90a', 'plain')],
)
def test_the_fused_kernel_is_for_gpus_that_have_it(
  capability, kind, monkeypatch
):
  gpu = types.SimpleNamespace(compute_capability=capability)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(jax, 'local_devices', lambda: [gpu])

  def fastest(length, width, dtype):
    query = jax.ShapeDtypeStruct((2, length, 12, width), dtype)
    return attention._fastest(query)

  assert fastest(197, 64, jnp.bfloat16) == kind
  assert fastest(197, 256, jnp.bfloat16) == 'plain'
  assert fastest(197, 64, jnp.float32) == 'plain'
  assert fastest(1024, 64, jnp.float32) == 'chunked'


@pytest.mark.parametrize('kind', KINDS)
def test_capped_scores_and_their_gradients_by_hand(kind, monkeypatch):
  monkeypatch.setattr(attention, '_CHUNK_SCORES', {'cpu': 500})
  inputs = [3.0 * x for x in _random(1, 30)]
  weight = np.random.default_rng(0).normal(size=inputs[0].shape)
  cap = 2.0

  def by_hand(query, key, value):
    scores = jnp.einsum('bnhd,bmhd->bhnm', query, key) / math.sqrt(8)
    weights = nn.softmax(cap * jnp.tanh(scores / cap))
    return jnp.einsum('bhnm,bmhd->bnhd', weights, value)

  def results(function):
    def loss(inputs):
      out = function(*inputs)
      return jnp.sum(weight * out), out

    return jax.jit(jax.grad(loss, has_aux=True))(inputs)

  with jax.default_matmul_precision('float32'):
    attend = functools.partial(attention.attend, kind=kind, cap=cap)
    found, expected = results(attend), results(by_hand)
    uncapped = attention.attend(*inputs, kind=kind)
  for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
  assert np.abs(uncapped - found[1]).max() > 0.1


@pytest.mark.parametrize('kind', ['flax', 'cudnn'])
def test_a_cap_that_would_be_ignored_is_an_error(kind):
  with pytest.raises(ValueError, match=kind):
    attention.attend(*_random(0, 3), kind=kind, cap=50.0)


def test_capped_scores_never_use_the_fused_kernel(monkeypatch):
  gpu = types.SimpleNamespace(compute_capability='9.0')
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(jax, 'local_devices', lambda: [gpu])
  query = jax.ShapeDtypeStruct((2, 256, 12, 64), jnp.bfloat16)
  assert attention._fastest(query) == 'cudnn'
  assert attention._fastest(query, capped=True) == 'plain'

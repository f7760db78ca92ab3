"""MViT's pooling convolution and its gradients, against loops in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.models.mvit import pooling


def by_hand(x, kernel, stride, dy=None):
  """Returns the pooled tokens; with their gradient, those of x and kernel."""
  sizes = [-(-n // s) for n, s in zip(x.shape[1:4], stride)]
  y = np.zeros((len(x), *sizes, x.shape[-1]))
  dx, dkernel = np.zeros(x.shape), np.zeros(kernel.shape)
  for out in itertools.product(*map(range, sizes)):
    for tap in itertools.product(*map(range, kernel.shape[:3])):
      at = [
        i * s + a - k // 2 for i, s, a, k in zip(out, stride, tap, kernel.shape)
      ]
      if all(0 <= i < n for i, n in zip(at, x.shape[1:4])):
        here, there = (slice(None), *at), (slice(None), *out)
        y[there] += x[here] * kernel[(*tap, 0)]
        if dy is not None:
          dx[here] += dy[there] * kernel[(*tap, 0)]
          dkernel[(*tap, 0)] += (dy[there] * x[here]).sum(axis=0)
  return y, dx, dkernel


def made(shape, kernel, stride):
  draw = np.random.default_rng(0).normal
  pooled = [-(-n // s) for n, s in zip(shape[1:4], stride)]
  return (
    draw(size=shape).astype(np.float32),
    draw(size=(*kernel, 1, shape[-1])).astype(np.float32),
    draw(size=(shape[0], *pooled, shape[-1])).astype(np.float32),
  )


@pytest.mark.parametrize('function', [pooling.pool, pooling.convolved])
@pytest.mark.parametrize('shape, kernel, stride', [
  ((2, 2, 5, 4, 3), (3, 3, 3), (1, 2, 2)),
  ((1, 3, 3, 4, 2), (3, 3, 3), (1, 1, 1)),
  ((1, 1, 9, 7, 1), (1, 5, 5), (1, 4, 4)),  # the paper's other kernels
  ((1, 4, 2, 9, 1), (3, 3, 3), (2, 1, 8)),
])  # fmt: skip
def test_pooling_and_gradients_by_hand(function, shape, kernel, stride):
  x, kernel, dy = made(shape, kernel, stride)

  @jax.jit
  def run(x, kernel, dy):
    y, gradients = jax.vjp(lambda x, k: function(x, k, stride), x, kernel)
    return y, *gradients(dy)

  for found, expected in zip(
    run(x, kernel, dy), by_hand(x, kernel, stride, dy)
  ):
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_cpu_runs_no_convolution_and_other_devices_one():
  """XLA's depthwise convolution takes seconds on a CPU."""
  x, kernel, _ = made((1, 2, 4, 4, 2), (3, 3, 3), (1, 2, 2))

  def loss(x, kernel):
    return (pooling.pool(x, kernel, (1, 2, 2)) ** 2).sum()

  traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
  texts = [
    traced.lower(lowering_platforms=(platform,)).as_text()
    for platform in ('cpu', 'cuda')
  ]
  assert ['stablehlo.convolution' in text for text in texts] == [False, True]


def test_bfloat16_is_rounded_once():
  x, kernel, _ = made((1, 2, 5, 5, 2), (3, 3, 3), (1, 2, 2))
  x, kernel = (np.asarray(a, jnp.bfloat16) for a in (x, kernel))
  found = jax.jit(lambda x, k: pooling.pool(x, k, (1, 2, 2)))(x, kernel)
  wide = [a.astype(np.float32) for a in (x, kernel)]
  expected = by_hand(*wide, (1, 2, 2))[0]
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    found.astype(np.float32), expected, rtol=2**-8, atol=1e-6
  )

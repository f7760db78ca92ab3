"""Counts against products counted by hand, and the paper's models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.models import arithmetic, table


def test_products_by_hand():
  a, b = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 7))
  assert arithmetic.multiply_adds(jnp.matmul, a, b) == 3 * 4 * 5 * 7
  image, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((2, 2, 3, 8))

  def convolve(image, kernel):
    return jax.lax.conv_general_dilated(
      image, kernel, (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  count = arithmetic.multiply_adds(convolve, image, kernel)
  assert count == 2 * 3 * 3 * 8 * (2 * 2 * 3)


def test_loops_branches_and_checkpoints_are_counted():
  x = jnp.ones((4, 4))

  def step(carry, _):
    return carry @ x, None

  def loop(x):
    return jax.lax.scan(step, x, None, length=5)[0]

  assert arithmetic.multiply_adds(loop, x) == 5 * 64
  assert arithmetic.multiply_adds(jax.jit(loop), x) == 5 * 64
  assert arithmetic.multiply_adds(jax.checkpoint(loop), x) == 5 * 64

  def branch(x):
    return jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x, x)

  assert arithmetic.multiply_adds(branch, x) == 2 * 64


@pytest.mark.parametrize(
  'name, giga',
  [
    ('1 joint', 451.5),
    ('2 factorised encoder', 283.3),
    ('3 factorised self-attention', 371.1),
    ('4 factorised dot-product', 276.2),
  ],
)
def test_the_papers_models(name, giga):
  """Of the paper's figures, the part that matrix products are."""
  case = next(case for case in table.published() if case.name == name)
  config = dataclasses.replace(case.config, scan=True)
  crop = (case.crop, case.crop)
  count = arithmetic.forward_multiply_adds(config, case.frames, crop)
  np.testing.assert_allclose(count / 1e9, giga, atol=0.06)


@pytest.mark.parametrize(
  'kind, name',
  [
    ('NVIDIA A100-SXM4-40GB', 'A100'),
    ('NVIDIA H100 PCIe', 'H100 PCIe'),
    ('NVIDIA GeForce RTX 4090 Laptop GPU', 'RTX 4090 Laptop'),
    ('TPU v5 lite', 'TPU v5 lite'),
  ],
)
def test_the_longest_name_counts(kind, name):
  peak = arithmetic.PEAKS[name]
  expected = None if peak is None else peak * 1e12
  assert arithmetic.peak_operations(kind) == expected


@pytest.mark.parametrize(
  'kind',
  ['NVIDIA A100-SXM4-40GB MIG 1g.5gb', 'NVIDIA A10G', 'NVIDIA H20', 'cpu'],
)
def test_the_peak_of_other_devices_is_unknown(kind):
  assert arithmetic.peak_operations(kind) is None

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
@pytest.mark.parametrize('scan', [False, True])
def test_the_papers_models(name, giga, scan):
  """Of the paper's figures, the part that matrix products are."""
  case = next(case for case in table.published() if case.name == name)
  config = dataclasses.replace(case.config, scan=scan)
  crop = (case.crop, case.crop)
  count = arithmetic.forward_multiply_adds(config, case.frames, crop)
  np.testing.assert_allclose(count / 1e9, giga, atol=0.06)


@pytest.mark.parametrize(
  'kind, tera',
  [
    ('NVIDIA H100 80GB HBM3', 989),
    ('NVIDIA H100 PCIe', 756),
    ('NVIDIA H100 NVL', 835),
    ('NVIDIA H200', 989),
    ('NVIDIA GH200 480GB', 989),
    ('NVIDIA B200', 2250),
    ('NVIDIA GB200', 2500),
    ('NVIDIA A100-SXM4-80GB', 312),
    ('NVIDIA A100-SXM4-40GB MIG 1g.5gb', None),
    ('NVIDIA A40', 149.7),
    ('NVIDIA A10', 125),
    ('NVIDIA A10G', None),
    ('NVIDIA L4', 121),
    ('NVIDIA L40', 181),
    ('NVIDIA L40S', 362),
    ('NVIDIA H20', None),
    ('NVIDIA GeForce RTX 4090', 165.2),
    ('NVIDIA GeForce RTX 4090 D', None),
    ('NVIDIA GeForce RTX 4090 Laptop GPU', None),
    ('Tesla V100-SXM2-16GB', 125),
    ('Tesla V100-PCIE-16GB', 112),
    ('Tesla T4', 65),
    ('TPU v2', 22.5),
    ('TPU v3', 61.5),
    ('TPU v4', 275),
    ('TPU v4 lite', None),
    ('TPU v5', 459),
    ('TPU v5 lite', 197),
    ('TPU v5e', 197),
    ('TPU v6 lite', 918),
    ('TPU7x', 1153.5),
    ('TPU8i', None),
    ('cpu', None),
  ],
)
def test_peaks_are_found_by_name(kind, tera):
  expected = None if tera is None else tera * 1e12
  assert arithmetic.peak_operations(kind) == expected

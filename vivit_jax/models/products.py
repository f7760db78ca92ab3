"""The product of tokens and weights, in a form that XLA does not copy."""

import math
from typing import Any

import jax

Axes = tuple[int, ...]


def matrix_product(
  x: jax.Array,
  kernel: jax.Array,
  dimension_numbers: tuple[tuple[Axes, Axes], tuple[Axes, Axes]],
  **options: Any,
) -> jax.Array:
  """Returns the product of x [..., *K] and a kernel [*K, ...].

  Replaces `jax.lax.dot_general` in Flax layers, which need this case only. Both
  are reshaped to matrices first. In the backward pass, XLA's CPU backend fuses
  the transposition of a matrix into the product, but copies an array of more
  axes (jax 0.10).

  Args:
    x: tokens.
    kernel: weights.
    dimension_numbers: as of `jax.lax.dot_general`: the last axes of x and the
      first of the kernel, in order, and no batch axes.
    options: further arguments of `jax.lax.dot_general`.

  Raises:
    ValueError: other dimension numbers.
  """
  (last, first), batch = dimension_numbers
  lead = x.ndim - len(last)
  in_order = (tuple(range(lead, x.ndim)), tuple(range(len(first))))
  if (tuple(last), tuple(first)) != in_order or any(batch):
    raise ValueError(
      f'dimension_numbers are {dimension_numbers}, not the last axes of x and '
      'the first of the kernel, in order'
    )
  rows, summed = math.prod(x.shape[:lead]), math.prod(x.shape[lead:])
  kept_axes = kernel.shape[len(first) :]
  y = jax.lax.dot_general(
    x.reshape(rows, summed),
    kernel.reshape(summed, math.prod(kept_axes)),
    (((1,), (0,)), ((), ())),
    **options,
  )
  return y.reshape(*x.shape[:lead], *kept_axes)

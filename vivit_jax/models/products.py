"""Products of tokens and weights, in a form that needs no copies in XLA."""

import math
from typing import Any

import jax

Sides = tuple[int, ...]


def matrix_product(
  x: jax.Array,
  kernel: jax.Array,
  dimension_numbers: tuple[tuple[Sides, Sides], tuple[Sides, Sides]],
  **options: Any,
) -> jax.Array:
  """Returns the product of x [..., *K] and a kernel [*K, ...].

  For the layers of flax, instead of `jax.lax.dot_general`, of which it is the
  case that they need. Tokens and weights become matrices first: in the backward
  pass XLA's CPU backend transposes matrices within a product, but copies arrays
  of more sides before it (jax 0.10).

  Args:
    x: tokens.
    kernel: weights.
    dimension_numbers: those of `jax.lax.dot_general`: the last sides of x, the
      first of the kernel, and none that both keep.
    options: further ones of `jax.lax.dot_general`.

  Raises:
    ValueError: other dimension numbers.
  """
  (last, first), kept = dimension_numbers
  lead = x.ndim - len(last)
  in_order = (tuple(range(lead, x.ndim)), tuple(range(len(first))))
  if (tuple(last), tuple(first)) != in_order or any(kept):
    raise ValueError(
      f'{dimension_numbers} are not the last sides of x and the first of the '
      'kernel, in order'
    )
  rows, summed = math.prod(x.shape[:lead]), math.prod(x.shape[lead:])
  sides = kernel.shape[len(first) :]
  y = jax.lax.dot_general(
    x.reshape(rows, summed),
    kernel.reshape(summed, math.prod(sides)),
    (((1,), (0,)), ((), ())),
    **options,
  )
  return y.reshape(*x.shape[:lead], *sides)

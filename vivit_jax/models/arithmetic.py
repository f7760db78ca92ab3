"""The arithmetic of a function, counted in its jaxpr, without compiling it."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

# Peak of matrix products in bfloat16, dense, in 1e12 operations a second, by a
# part of the device's name: NVIDIA's and Google's data sheets.
PEAKS = {
  'H200': 989,
  'H100': 989,
  'A100': 312,
  'L4': 121,
  'V100': 125,
  'T4': 65,
  'TPU v6': 918,
  'TPU v5p': 459,
  'TPU v5 lite': 197,
  'TPU v5e': 197,
  'TPU v4': 275,
  'TPU v3': 123,
}


def multiply_adds(function: Callable, *arguments: Any) -> int:
  """Returns the multiply-adds of all matrix products and convolutions.

  That is nearly all arithmetic of a transformer: norms, softmax and activations
  are left out. Loops count as often as they run, and both branches of a
  condition as the larger one.

  Args:
    function: is traced, not run.
    *arguments: its, arrays or `jax.ShapeDtypeStruct`s.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def peak_operations(device: jax.Device) -> float | None:
  """Returns the device's peak of operations a second in bfloat16, if known."""
  kind = device.device_kind
  for name, tera in PEAKS.items():
    if name.lower() in kind.lower():
      return tera * 1e12
  return None


def _count(jaxpr: core.Jaxpr) -> int:
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> int:
  name, parameters = equation.primitive.name, equation.params
  if name == 'dot_general':
    (contracted, _), _ = parameters['dimension_numbers']
    left = equation.invars[0].aval.shape
    summed = math.prod(left[axis] for axis in contracted)
    return math.prod(equation.outvars[0].aval.shape) * summed
  if name == 'conv_general_dilated':
    kernel = equation.invars[1].aval.shape
    out_axis = parameters['dimension_numbers'].rhs_spec[0]
    summed = math.prod(kernel) // kernel[out_axis]
    return math.prod(equation.outvars[0].aval.shape) * summed
  inner = [_count(jaxpr) for jaxpr in _inner(parameters)]
  if name == 'cond':
    return max(inner)
  times = parameters['length'] if name == 'scan' else 1
  return times * sum(inner)


def _inner(parameters: dict[str, Any]) -> list[core.Jaxpr]:
  """Returns the jaxprs that an equation calls."""
  found = []
  for value in parameters.values():
    for one in value if isinstance(value, tuple | list) else (value,):
      jaxpr = getattr(one, 'jaxpr', one)
      if hasattr(jaxpr, 'eqns'):
        found.append(jaxpr)
  return found

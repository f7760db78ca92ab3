"""Counts multiply-adds in a function's jaxpr; peak speeds of devices."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from vivit_jax.models import builder
from vivit_jax.models.family import ModelConfig

# Device name -> peak bfloat16 TFLOP/s of dense matrix products (V100 and T4:
# float16), from the data sheets of NVIDIA and Google. For TPU v2, v3 and 7x, a
# JAX device is half a chip. None: the peak is not published; without the entry,
# a shorter name would match.
PEAKS = {
  'GB200': 2500,
  'B200': 2250,
  'GH200': 989,
  'H200': 989,
  'H200 NVL': 835,
  'H100': 989,
  'H100 NVL': 835,
  'H100 PCIe': 756,
  'H800': 989,
  'H800 PCIe': 756,
  'A100': 312,
  'A800': 312,
  'A40': 149.7,
  'A30': 165,
  'A10': 125,
  'L40S': 362,
  'L40': 181,
  'L4': 121,
  'RTX 4090': 165.2,
  'RTX 4090 D': None,
  'RTX 4090 Laptop': None,
  'V100': 125,
  'V100 PCIE': 112,
  'T4': 65,
  'TPU7x': 2307 / 2,
  'TPU v6 lite': 918,
  'TPU v6e': 918,
  'TPU v5': 459,
  'TPU v5p': 459,
  'TPU v5 lite': 197,
  'TPU v5e': 197,
  'TPU v4': 275,
  'TPU v4 lite': None,
  'TPU v3': 123 / 2,
  'TPU v2': 45 / 2,
}


def multiply_adds(function: Callable, *arguments: Any) -> int:
  """Returns the multiply-adds of all matrix products and convolutions.

  Norms, softmax and activations are a small part of a transformer and are not
  counted. A scan counts once per iteration, a while loop once, a condition as
  its larger branch. `function` is only traced: arguments may be
  `jax.ShapeDtypeStruct`s.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def forward_multiply_adds(
  config: ModelConfig, frames: int, crop: tuple[int, int]
) -> int:
  """Returns the multiply-adds of one clip's forward pass, of all tokens.

  Uses plain attention: a jaxpr does not show the products in a fused kernel,
  and chunked attention pads. `crop` is height and width in pixels.
  """
  config = builder.with_attention(config, 'plain')
  shapes = builder.shapes(config, frames, crop)
  clip = jax.ShapeDtypeStruct((1, frames, *crop, 3), jnp.float32)
  return multiply_adds(builder.build(config).apply, {'params': shapes}, clip)


def peak_operations(kind: str) -> float | None:
  """Returns a device's peak bfloat16 FLOP/s; None if unknown.

  Args:
    kind: `device_kind` of a JAX device. The longest name in `PEAKS` whose words
      it contains in sequence is used. The peak of a part of a GPU (MIG) is
      unknown.
  """
  words = f' {kind.lower().replace("-", " ")} '
  names = [name for name in PEAKS if f' {name.lower()} ' in words]
  if not names or ' mig ' in words:
    return None
  tera = PEAKS[max(names, key=len)]
  return None if tera is None else tera * 1e12


def _count(jaxpr: core.Jaxpr) -> int:
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: core.JaxprEqn) -> int:
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
  inner = [_count(jaxpr) for jaxpr in _called(parameters)]
  if name == 'cond':
    return max(inner)
  times = parameters['length'] if name == 'scan' else 1
  return times * sum(inner)


def _called(parameters: dict[str, Any]) -> list[core.Jaxpr]:
  """Returns the jaxprs that an equation calls."""
  jaxprs = []
  for value in parameters.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      jaxpr = getattr(item, 'jaxpr', item)
      if hasattr(jaxpr, 'eqns'):
        jaxprs.append(jaxpr)
  return jaxprs

"""Pooling of queries, keys and values: a strided depthwise convolution.

XLA has no fast depthwise 3D convolution for CPUs. There, it is a sum of shifted
slices, which XLA fuses into one loop; so are its gradients. These functions are
jitted by themselves, to be traced once for all blocks of a stage.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Stride = tuple[int, int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pool(
  x_BxtxhxwxC: jax.Array, kernel_txhxwx1xC: jax.Array, stride: Stride
) -> jax.Array:
  """Convolves each channel with its own kernel.

  Args:
    x_BxtxhxwxC: tokens of a grid.
    kernel_txhxwx1xC: odd in t, h and w. Zeros pad half of it on each side.
    stride: in t, h and w.

  Returns:
    [B, t', h', w', C]; each side is divided by its stride and rounded up.
  """
  return jax.lax.platform_dependent(
    x_BxtxhxwxC,
    kernel_txhxwx1xC,
    cpu=functools.partial(shifted, stride=stride),
    default=functools.partial(convolved, stride=stride),
  )


def _forward(x: jax.Array, kernel: jax.Array, stride: Stride):
  return pool(x, kernel, stride), (x, kernel)


def _backward(stride: Stride, saved: tuple[jax.Array, jax.Array], dy):
  return jax.lax.platform_dependent(
    *saved,
    dy,
    cpu=functools.partial(shifted_gradients, stride=stride),
    default=functools.partial(_convolved_gradients, stride=stride),
  )


pool.defvjp(_forward, _backward)


def convolved(x: jax.Array, kernel: jax.Array, stride: Stride) -> jax.Array:
  """Implements `pool` as one grouped convolution."""
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    stride,
    [(size // 2, size // 2) for size in kernel.shape[:3]],
    dimension_numbers=('NTHWC', 'THWIO', 'NTHWC'),
    feature_group_count=x.shape[-1],
  )


def _convolved_gradients(x, kernel, dy, stride: Stride):
  _, gradients = jax.vjp(functools.partial(convolved, stride=stride), x, kernel)
  return gradients(dy)


@functools.partial(jax.jit, static_argnames='stride')
def shifted(x: jax.Array, kernel: jax.Array, stride: Stride) -> jax.Array:
  """Implements `pool` as a sum of shifted slices, in float32."""
  padded, sizes = _padded(x, kernel), _pooled_sizes(x, stride)
  total = 0.0
  for tap in _taps(kernel):
    weight_C = kernel[(*tap, 0)].astype(jnp.float32)
    total += _sliced(padded, tap, sizes, stride) * weight_C
  return total.astype(x.dtype)


@functools.partial(jax.jit, static_argnames='stride')
def shifted_gradients(
  x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: Stride
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of `shifted` for x and kernel, given the output's."""
  padded, sizes = _padded(x, kernel), dy.shape[1:4]
  wide = dy.astype(jnp.float32)
  products = [
    _sliced(padded, tap, sizes, stride) * wide for tap in _taps(kernel)
  ]
  # One loop for all taps, several times faster than a sum for each.
  sums = jax.lax.reduce(
    products,
    [jnp.float32(0)] * len(products),
    lambda some, more: [x + y for x, y in zip(some, more)],
    (0, 1, 2, 3),
  )
  of_kernel = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
  return _input_gradient(kernel, dy, stride, x.shape), of_kernel


def _input_gradient(
  kernel: jax.Array, dy: jax.Array, stride: Stride, shape: tuple[int, ...]
) -> jax.Array:
  """Returns the gradient for the input, of the given shape.

  Input i = stride q + r gets kernel[a] dy[q - c] for all taps a with
  a - padding = stride c + r. So each phase r is a sum of shifted slices of dy.
  """
  phases, edges = [], []
  for size, step in zip(kernel.shape[:3], stride):
    of_axis = [[] for _ in range(step)]
    for tap in range(size):
      shift, phase = divmod(tap - size // 2, step)
      of_axis[phase].append((tap, shift))
    phases.append(of_axis)
    edges.append(((size - 1 - size // 2) // step, -(-(size // 2) // step)))
  padded = jnp.pad(dy, ((0, 0), *edges, (0, 0)))

  def phase_of(*pairs: Sequence[tuple[int, int]]) -> jax.Array:
    total = jnp.zeros(dy.shape, jnp.float32)
    for chosen in itertools.product(*pairs):
      tap, shift = zip(*chosen)
      start = [before - c for (before, _), c in zip(edges, shift)]
      piece = _sliced(padded, start, dy.shape[1:4], (1, 1, 1))
      total += piece * kernel[(*tap, 0)].astype(jnp.float32)
    return total.astype(dy.dtype)

  dx = _interleaved(phase_of, phases)
  return jax.lax.slice(dx, [0] * dx.ndim, shape)


def _interleaved(phase_of: Callable[..., jax.Array], phases) -> jax.Array:
  """Returns [B, t s_t, h s_h, w s_w, C] from the phases of each axis."""

  def along(axis: int, chosen: tuple) -> jax.Array:
    if axis == len(phases):
      return phase_of(*chosen)
    parts = [along(axis + 1, (*chosen, pairs)) for pairs in phases[axis]]
    if len(parts) == 1:
      return parts[0]
    x = jnp.stack(parts, axis + 2)
    sizes = list(parts[0].shape)
    sizes[axis + 1] *= len(parts)
    return x.reshape(sizes)

  return along(0, ())


def _taps(kernel: jax.Array) -> itertools.product:
  return itertools.product(*map(range, kernel.shape[:3]))


def _padded(x: jax.Array, kernel: jax.Array) -> jax.Array:
  edges = [(size // 2, size // 2) for size in kernel.shape[:3]]
  return jnp.pad(x, ((0, 0), *edges, (0, 0)))


def _pooled_sizes(x: jax.Array, stride: Stride) -> list[int]:
  return [-(-size // step) for size, step in zip(x.shape[1:4], stride)]


def _sliced(
  x: jax.Array, start: Sequence[int], sizes: Sequence[int], stride: Stride
) -> jax.Array:
  """Returns float32 [B, *sizes, C], every `stride`-th entry from `start`."""
  limit = [
    first + (size - 1) * step + 1
    for first, size, step in zip(start, sizes, stride)
  ]
  return jax.lax.slice(
    x,
    (0, *start, 0),
    (x.shape[0], *limit, x.shape[-1]),
    (1, *stride, 1),
  ).astype(jnp.float32)

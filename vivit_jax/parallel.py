"""Data parallelism: the one module that uses jax.pmap.

Parameters and optimiser state are replicated along a leading device axis.
Batches are split along their first axis: device d of a process gets the d-th
block of examples. Random draws are keyed by an example's index in the global
batch (`example_indices`), so they do not depend on the number of devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AXIS = 'devices'


def map_over_devices(
  function: Callable, *, static: tuple[int, ...] = (), donate: tuple = ()
) -> Callable:
  """Returns `function` mapped over the leading axis, one entry per device."""
  return jax.pmap(
    function,
    axis_name=AXIS,
    static_broadcasted_argnums=static,
    donate_argnums=donate,
  )


def compiled(
  function: Callable, *arguments: Any
) -> tuple[Callable, int | None]:
  """Compiles a mapped function for these arguments, before its first call.

  Returns:
    The compiled function, and its memory on each device in bytes, including the
    arguments; None if unknown. With several processes, jax cannot compile ahead
    of the call: returns the function itself, and None.
  """
  if jax.process_count() > 1 or not hasattr(function, 'lower'):
    return function, None
  program = function.lower(*arguments).compile()
  memory = program.memory_analysis()
  if memory is None:
    return program, None
  held = memory.argument_size_in_bytes + memory.output_size_in_bytes
  return program, int(
    held + memory.temp_size_in_bytes - memory.alias_size_in_bytes
  )


def replicate(tree: Any) -> Any:
  """Copies a tree to each local device: [...] -> [devices, ...]."""
  devices = jax.local_device_count()
  return _mapped_copy()(
    jax.tree.map(lambda x: np.broadcast_to(x, (devices, *np.shape(x))), tree)
  )


@functools.cache
def _mapped_copy() -> Callable:
  return map_over_devices(lambda x: x)


def unreplicate(tree: Any) -> Any:
  """Returns the first device's copy on the host: [devices, ...] -> [...]."""
  return jax.tree.map(lambda x: np.asarray(x.addressable_data(0))[0], tree)


def shard(tree: Any) -> Any:
  """Splits a process's batch: [B, ...] -> [devices, B / devices, ...]."""
  devices = jax.local_device_count()
  return jax.tree.map(
    lambda x: np.reshape(x, (devices, x.shape[0] // devices, *x.shape[1:])),
    tree,
  )


def unshard(tree: Any) -> Any:
  """Undoes `shard`: [devices, b, ...] -> [devices * b, ...]."""
  return jax.tree.map(
    lambda x: np.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), tree
  )


def all_reduce_max(value: int) -> jax.Array:
  """Returns the maximum over all processes, on each local device: [devices].

  A collective that runs asynchronously; all processes must call it.
  """
  value_D = np.full((jax.local_device_count(),), value, np.int32)
  return _mapped_max()(value_D)


@functools.cache
def _mapped_max() -> Callable:
  return map_over_devices(lambda x: jax.lax.pmax(x, AXIS))


# The functions below are called inside a function mapped over devices.


def mean_over_devices(tree: Any) -> Any:
  """Averages a tree over all devices of all processes."""
  return jax.lax.pmean(tree, AXIS)


def example_indices(local_batch: int) -> jax.Array:
  """Returns the examples' indices in the global batch, int32 [local_batch]."""
  return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def next_example(x: jax.Array) -> jax.Array:
  """Replaces each example of [b, ...] by the next one of the global batch.

  A device's last example is replaced by the first of the next device; the
  last device takes it from the first device.
  """
  devices = jax.lax.axis_size(AXIS)
  ring = [(source, (source - 1) % devices) for source in range(devices)]
  first = jax.lax.ppermute(x[:1], AXIS, ring)
  return jnp.concatenate([x[1:], first])

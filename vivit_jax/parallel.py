"""Data parallelism: the one module that uses jax.pmap.

Parameters and optimiser state are replicated with a leading device axis.
Batches are split along their first axis: device d of a process gets the d-th
run of consecutive examples. Each device knows the indices of its examples in
the global batch (`example_indices`). Random draws are keyed by this index, so
they do not depend on the number of devices.
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
  """Compiles a mapped function ahead of its first call, for these arguments.

  Returns:
    The compiled function and the memory that it needs on each device in bytes,
    arguments included; None if unknown. In several processes, jax cannot do
    that: the function itself and None.
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
  copy = map_over_devices(lambda x: x)
  return copy(
    jax.tree.map(
      lambda x: np.broadcast_to(np.asarray(x)[None], (devices, *np.shape(x))),
      tree,
    )
  )


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
  """Returns the maximum of all processes' values, [devices].

  A collective, which all processes must call; it runs asynchronously.
  """
  value_D = np.full((jax.local_device_count(),), value, np.int32)
  return _mapped_max()(value_D)


@functools.cache
def _mapped_max() -> Callable:
  return map_over_devices(lambda x: jax.lax.pmax(x, AXIS))


# The functions below are called inside a function mapped over devices.


def mean_over_devices(tree: Any) -> Any:
  """Averages over all devices of all processes."""
  return jax.lax.pmean(tree, AXIS)


def example_indices(local_batch: int) -> jax.Array:
  """Returns the examples' places in the global batch, int32 [local_batch]."""
  return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def next_example(x: jax.Array) -> jax.Array:
  """Rolls [b, ...] by one along the global batch: example i gets i + 1.

  A device's last example gets the first of the next device, by a collective
  permutation; the last device's is followed by the first device's.
  """
  devices = jax.lax.axis_size(AXIS)
  ring = [(source, (source - 1) % devices) for source in range(devices)]
  first = jax.lax.ppermute(x[:1], AXIS, ring)
  return jnp.concatenate([x[1:], first])

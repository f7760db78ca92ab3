"""The one file that knows how work is spread over devices: jax.pmap.

Arrays that are the same everywhere (parameters, optimiser) are replicated with
a leading device axis; batches are split along their first axis, device d of
the process taking the d-th run of consecutive examples. So an example's place
in the global batch is known everywhere (`example_places`), and randomness that
is keyed by it does not depend on the number of devices.
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
  """Returns `function` run on every device, over the leading axis."""
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
    What to call instead, and the bytes that it needs on each device, its
    arguments included. The function itself, and None, where jax cannot do that:
    in several processes.
  """
  if jax.process_count() > 1 or not hasattr(function, 'lower'):
    return function, None
  ahead = function.lower(*arguments).compile()
  held = ahead.memory_analysis()
  if held is None:
    return ahead, None
  parts = held.argument_size_in_bytes, held.output_size_in_bytes
  whole = sum(parts) + held.temp_size_in_bytes - held.alias_size_in_bytes
  return ahead, int(whole)


def replicate(tree: Any) -> Any:
  """Gives each local device a copy: [...] -> [devices, ...]."""
  devices = jax.local_device_count()
  copy = map_over_devices(lambda x: x)
  return copy(
    jax.tree.map(
      lambda x: np.broadcast_to(np.asarray(x)[None], (devices, *np.shape(x))),
      tree,
    )
  )


def unreplicate(tree: Any) -> Any:
  """Takes the first device's copy: [devices, ...] -> [...], on the host."""
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


def most_anywhere(value: int) -> jax.Array:
  """Returns [devices]: the largest of what all processes give, maybe not ready.

  A collective: every process must call it as often.
  """
  value_D = np.full((jax.local_device_count(),), value, np.int32)
  return _mapped_most()(value_D)


@functools.cache
def _mapped_most() -> Callable:
  return map_over_devices(lambda x: jax.lax.pmax(x, AXIS))


# What follows is called inside a function that is mapped over devices.


def mean_over_devices(tree: Any) -> Any:
  """Averages over all devices of all processes."""
  return jax.lax.pmean(tree, AXIS)


def example_places(local_batch: int) -> jax.Array:
  """Returns int32 [local_batch]: places of examples in the global batch."""
  return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def next_example(x: jax.Array) -> jax.Array:
  """Shifts [b, ...] by one example along the global batch, as a ring.

  Example i gets example i + 1; a device's last one gets the first of the next
  device, which comes by a collective permutation.
  """
  devices = jax.lax.axis_size(AXIS)
  ring = [(source, (source - 1) % devices) for source in range(devices)]
  first = jax.lax.ppermute(x[:1], AXIS, ring)
  return jnp.concatenate([x[1:], first])

"""Runs of several processes, on one machine or many.

Every process runs the same command. They connect by flags, or by the
environment variables of Slurm, Open MPI and TPU pods. All must see the same
files; only process 0 writes and prints.

jax watches the processes: if one sends no heartbeat for `_HEARTBEAT_SECONDS`,
jax aborts the others with a message that names it. If process 0 dies, they
abort at once.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax.errors import UserError

_HEARTBEAT_SECONDS = 30  # without one, a process counts as dead
_CONNECT_SECONDS = 300  # for all processes to start
_EXIT_SECONDS = 3  # for other processes to report the same error

# Number of processes and rank, as set by srun and by mpirun.
_SLURM = ('SLURM_NTASKS', 'SLURM_PROCID')
_OPEN_MPI = ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK')
# Variables from which jax gets the address of process 0. For Open MPI, jax
# reads one that Open MPI 5 lacks: it needs --coordinator.
_SLURM_NODES = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_LOCALID')


def initialise(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Connects the processes of a run; does nothing for a single process.

  Call it before any computation. It returns once all processes have called it.

  Args:
    coordinator: 'host:port' of process 0; None: from the launcher, if any.
    processes: their number; None: from the launcher.
    process: index of this one, from 0; None: from the launcher.

  Raises:
    UserError: invalid or missing flags, or no connection.
  """
  launched = _launched(os.environ)
  if coordinator is None:
    if processes is not None or process is not None:
      raise UserError('--processes and --process need --coordinator=HOST:PORT.')
    if launched is None:
      return
  else:
    host, _, port = coordinator.rpartition(':')
    if not host or not port.isdecimal():
      raise UserError(f"--coordinator is '{coordinator}'; it takes HOST:PORT.")
    counted = launched or (None, None)
    processes = counted[0] if processes is None else processes
    process = counted[1] if process is None else process
    if processes is None or process is None:
      raise UserError(
        '--coordinator needs --processes, their number, and --process, the '
        'index of this one.'
      )
    if not 0 <= process < processes:
      raise UserError(
        f'--process is {process}; with --processes={processes}, it is 0 to '
        f'{processes - 1}.'
      )
    if processes == 1:
      return
  # Gloo is for CPUs. Not jax but stopping.py handles signals.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  jax.config.update('jax_enable_preemption_service', False)
  logging.getLogger('jax._src.distributed').setLevel(logging.ERROR)
  which = '' if process is None else f'process {process} of {processes}: '
  where = '' if coordinator is None else f' at {coordinator}'
  print(
    f'{which}connecting{where}; all processes must start within '
    f'{_CONNECT_SECONDS} s',
    file=sys.stderr,
    flush=True,
  )
  try:
    jax.distributed.initialize(
      coordinator,
      processes,
      process,
      initialization_timeout=_CONNECT_SECONDS,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    reason = (str(error).splitlines() or [''])[0].rstrip('.')
    raise UserError(
      f'the processes cannot connect: {reason}. Give all of them '
      '--coordinator=HOST:PORT, with any free port of process 0.'
    ) from None
  if not first():
    sys.stdout = open(os.devnull, 'w')


def exit_after(error: Exception) -> None:
  """Ends this process after an error; returns if it is the only one.

  Python's own exit would wait for the other processes, which may wait for this
  one. If a collective failed, another process has probably died: this function
  then waits until jax aborts this process with a message that names the other.
  """
  if not several():
    return
  mistake = isinstance(error, UserError)
  if mistake:
    print(f'error: {error}', file=sys.stderr, flush=True)
  else:
    traceback.print_exception(error)
    sys.stderr.flush()
  # On CPUs, a failed collective may be a ValueError.
  if isinstance(error, jax.errors.JaxRuntimeError) or 'Gloo' in str(error):
    time.sleep(_HEARTBEAT_SECONDS + 15)
  elif first():
    time.sleep(_EXIT_SECONDS)  # the others abort when it ends
  os._exit(2 if mistake else 1)


def check_same(what: str, values: Mapping[str, object]) -> None:
  """Checks that all processes have the same values; a collective.

  Args:
    what: name of the values, for the error.
    values: of JSON types.

  Raises:
    UserError: a value differs from process 0's; it names process and key.
  """
  line = json.dumps(values) + '\n'
  lines = bytes(gather(np.frombuffer(line.encode(), np.uint8))).splitlines()
  mappings = [json.loads(line) for line in lines]
  expected = mappings[0]
  for number, other in enumerate(mappings):
    for key in sorted(expected.keys() | other.keys()):
      if expected.get(key) != other.get(key):
        raise UserError(
          f'{what} differs between processes: {key} is {other.get(key)!r} in '
          f'process {number} and {expected.get(key)!r} in process 0. Start all '
          'by the same command.'
        )


def _launched(environment: Mapping[str, str]) -> tuple | None:
  """Returns number of processes and rank from the launcher's variables.

  (None, None) on a TPU pod, where jax detects both. None without a launcher, or
  for a single process.
  """
  if all(name in environment for name in (*_SLURM, *_SLURM_NODES)):
    names = _SLURM
  elif all(name in environment for name in _OPEN_MPI):
    names = _OPEN_MPI
  else:
    return (None, None) if _on_tpu_pod() else None
  count, number = (int(environment[name]) for name in names)
  return (count, number) if count > 1 else None


def _on_tpu_pod() -> bool:
  """Returns whether jax detects a TPU pod of several hosts."""
  try:
    from jax._src.clusters import cloud_tpu_cluster
  except ImportError:
    return False
  kinds = (cloud_tpu_cluster.GkeTpuCluster, cloud_tpu_cluster.GceTpuCluster)
  present = [kind for kind in kinds if kind.is_env_present()]
  return bool(present) and present[0].get_process_count() > 1


def several() -> bool:
  """Returns whether this process is connected to others."""
  return jax.distributed.is_initialized()


def first() -> bool:
  """Returns whether this is process 0, which alone writes and prints."""
  return jax.process_index() == 0


def from_first(tree: Any) -> Any:
  """Broadcasts process 0's host arrays to all processes, bit for bit.

  Their shapes and types are the same in all processes.
  """
  if jax.process_count() == 1:
    return tree
  from jax.experimental import multihost_utils

  # As bytes: jax broadcasts by adding zeros, which would make 0.0 of -0.0.
  arrays = jax.tree.map(np.asarray, tree)
  sent = multihost_utils.broadcast_one_to_all(
    jax.tree.map(
      lambda x: np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8),
      arrays,
    )
  )
  return jax.tree.map(
    lambda x, y: np.asarray(y, np.uint8).view(x.dtype).reshape(x.shape),
    arrays,
    sent,
  )


def gather(rows: Any) -> Any:
  """Concatenates the rows of all processes, in the order of processes.

  The tree has host arrays [n, ...]; n may differ between processes.
  """
  if jax.process_count() == 1:
    return rows
  from jax.experimental import multihost_utils

  def concatenate(x):
    x = np.asarray(x)
    counts = multihost_utils.process_allgather(np.array([len(x)], np.int32))
    counts = np.asarray(counts).ravel()
    padding = [(0, int(counts.max()) - len(x)), *[(0, 0)] * (x.ndim - 1)]
    padded = np.ascontiguousarray(np.pad(x, padding))
    # As bytes: jax would convert 64-bit types to 32 bits.
    row_bytes = padded.dtype.itemsize * int(np.prod(x.shape[1:], dtype=int))
    flat = padded.view(np.uint8).reshape(len(padded), row_bytes)
    gathered = np.asarray(multihost_utils.process_allgather(flat))
    return np.concatenate(
      [
        np.ascontiguousarray(part[:count])
        .view(x.dtype)
        .reshape(count, *x.shape[1:])
        for part, count in zip(gathered, counts)
      ]
    )

  return jax.tree.map(concatenate, rows)

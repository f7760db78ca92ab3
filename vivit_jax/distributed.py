"""One run over several processes, on one machine or many.

Every process runs the same command. They find each other by flags, or by what
Slurm, Open MPI and TPU pods set; files are on a file system that all of them
see, and process 0 alone writes and prints. The processes watch each other: one
that dies ends the others, within `_HEARTBEAT_SECONDS` and a few.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import peers
from vivit_jax.errors import UserError

_HEARTBEAT_SECONDS = 30  # without a sign of life, a process counts as dead
_MEETING_SECONDS = 300  # for all processes to start

# Of Slurm's steps (srun), and of mpirun: how many processes, and which is this.
_SLURM = ('SLURM_NTASKS', 'SLURM_PROCID')
_OPEN_MPI = ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK')
# What jax reads beside them, to find process 0.
_SLURM_NODES = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_LOCALID')
_OPEN_MPI_NODES = 'OMPI_MCA_orte_hnp_uri'  # not of Open MPI 5


def initialise(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Connects the processes of a run; alone, there is nothing to do.

  Call it before anything is computed. It returns when all are there.

  Args:
    coordinator: 'host:port' of process 0; None: as the launcher says, if any.
    processes: how many there are; None: as the launcher says.
    process: the number of this one; None: as the launcher says.

  Raises:
    UserError: flags that do not fit each other, or processes that do not come.
  """
  launched = _launched(os.environ)
  if coordinator is None:
    if processes is not None or process is not None:
      raise UserError('--processes and --process need --coordinator=HOST:PORT.')
    if launched is None:
      return
    if all(x in os.environ for x in _OPEN_MPI) and (
      _OPEN_MPI_NODES not in os.environ
    ):
      raise UserError(
        'Open MPI 5 does not say where process 0 is: give '
        '--coordinator=HOST:PORT of it, with any free port.'
      )
  else:
    host, _, port = coordinator.rpartition(':')
    if not host or not port.isdecimal():
      raise UserError(f"--coordinator is '{coordinator}'; it takes HOST:PORT.")
    counted = launched or (None, None)
    processes = counted[0] if processes is None else processes
    process = counted[1] if process is None else process
    if processes is None or process is None:
      raise UserError(
        '--coordinator needs --processes, how many there are, and --process, '
        'the number of this one.'
      )
    if not 0 <= process < processes:
      raise UserError(
        f'--process is {process}; of {processes} processes, it is 0 to '
        f'{processes - 1}.'
      )
    if processes == 1:
      return
  # Between processes on CPUs; and signals are this package's to handle.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  jax.config.update('jax_enable_preemption_service', False)
  logging.getLogger('jax._src.distributed').setLevel(logging.ERROR)
  # jax would wait as long, and end the process with a stack of C++.
  alone = threading.Timer(_MEETING_SECONDS, _end_alone, (coordinator, process))
  alone.daemon = True
  alone.start()
  try:
    jax.distributed.initialize(
      coordinator,
      processes,
      process,
      initialization_timeout=_MEETING_SECONDS + 60,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise UserError(
      'the processes of the run do not find each other: '
      f'{peers.first_line(error)}.'
    ) from None
  finally:
    alone.cancel()
  peers.watch(_HEARTBEAT_SECONDS)
  if not first():
    sys.stdout = open(os.devnull, 'w')


def _end_alone(coordinator: str | None, process: int | None) -> None:
  """Ends a process that has waited for others too long."""
  which = 'this process' if process is None else f'process {process}'
  where = f' at {coordinator}' if coordinator else ''
  line = (
    f'error: the processes of the run do not find each other: {which} has '
    f'waited for {_MEETING_SECONDS} s{where}. Start all of them, with the same '
    '--coordinator and --processes.\n'
  )
  os.write(2, line.encode())
  os._exit(2)


def _launched(environment: Mapping[str, str]) -> tuple | None:
  """Returns how many processes a launcher started, and which this one is.

  Each is None where jax asks the launcher itself (a TPU pod); and there is no
  launcher, or only one process, where the whole is None.

  Raises:
    UserError: a launcher that does not say where process 0 is.
  """
  if all(name in environment for name in (*_SLURM, *_SLURM_NODES)):
    count, number = (int(environment[name]) for name in _SLURM)
    return (count, number) if count > 1 else None
  if all(name in environment for name in _OPEN_MPI):
    count, number = (int(environment[name]) for name in _OPEN_MPI)
    return (count, number) if count > 1 else None
  return (None, None) if _on_tpu_pod() else None


def _on_tpu_pod() -> bool:
  """Returns whether jax finds this host to be one of several of a TPU pod."""
  try:
    from jax._src.clusters import cloud_tpu_cluster
  except ImportError:
    return False
  kinds = (cloud_tpu_cluster.GkeTpuCluster, cloud_tpu_cluster.GceTpuCluster)
  here = [kind for kind in kinds if kind.is_env_present()]
  return bool(here) and here[0].get_process_count() > 1


def several() -> bool:
  """Returns whether this process is connected to others."""
  return jax.distributed.is_initialized()


def first() -> bool:
  """Returns whether this process is the one that writes."""
  return jax.process_index() == 0


def wait_for(there: Callable[[], bool], seconds: float = 1.0) -> None:
  """Returns when something is there that another process makes.

  No collective: those give up after a minute on some devices.
  """
  while not there():
    time.sleep(seconds)


def from_first(tree: Any) -> Any:
  """Returns process 0's arrays, bit for bit, to all.

  Args:
    tree: host arrays; of the other processes, only shapes and types count.
  """
  if jax.process_count() == 1:
    return tree
  from jax.experimental import multihost_utils

  # As bytes, since what comes is a sum with zeros: -0.0 would lose its sign.
  arrays = jax.tree.map(np.asarray, tree)
  bytes_of = jax.tree.map(
    lambda x: np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8), arrays
  )
  sent = multihost_utils.broadcast_one_to_all(bytes_of)
  return jax.tree.map(
    lambda x, y: np.asarray(y, np.uint8).view(x.dtype).reshape(x.shape),
    arrays,
    sent,
  )


def gather(rows: Any) -> Any:
  """Returns the rows of all processes, one process after the other.

  Args:
    rows: tree of host arrays [n, ...], n of each process.
  """
  if jax.process_count() == 1:
    return rows
  from jax.experimental import multihost_utils

  def of_all(x):
    x = np.asarray(x)
    counts = multihost_utils.process_allgather(np.array([len(x)], np.int32))
    counts = np.asarray(counts).ravel()
    padding = [(0, int(counts.max()) - len(x)), *[(0, 0)] * (x.ndim - 1)]
    padded = np.ascontiguousarray(np.pad(x, padding))
    # As bytes, for jax would halve 64 bits.
    row_bytes = padded.dtype.itemsize * int(np.prod(x.shape[1:], dtype=int))
    flat = padded.view(np.uint8).reshape(len(padded), row_bytes)
    every = np.asarray(multihost_utils.process_allgather(flat))
    return np.concatenate(
      [
        np.ascontiguousarray(part[:count])
        .view(x.dtype)
        .reshape(count, *x.shape[1:])
        for part, count in zip(every, counts)
      ]
    )

  return jax.tree.map(of_all, rows)

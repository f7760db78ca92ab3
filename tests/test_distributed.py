"""Two real processes that differ, fail or die; flags and launchers."""

import subprocess
import sys
import time

import numpy as np
import pytest
import simulated

from vivit_jax import distributed
from vivit_jax.errors import UserError

CONNECT = """
import os, sys, time
import jax
from vivit_jax import distributed, parallel
from vivit_jax.errors import UserError
me = int(sys.argv[2])
distributed.initialise(sys.argv[1], 2, me)
"""
MISTAKE = """
if me == 1:
  distributed.exit_after(UserError('no such file.'))
time.sleep(300)
"""
DIES = """
if me == 1:
  os._exit(9)
time.sleep(300)
"""
DIES_IN_A_COLLECTIVE = """
try:
  parallel.all_reduce_max(0).block_until_ready()
  if me == 1:
    os._exit(9)
  parallel.all_reduce_max(0).block_until_ready()
except Exception as error:
  distributed.exit_after(error)
"""


def run(script):
  """Returns exit code, standard error and seconds of each of two processes."""
  address = simulated.address()
  start = time.monotonic()
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', f'{CONNECT}\n{script}', address, n],
      env=simulated.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for n in ('0', '1')
  ]
  try:
    errors = [process.communicate(timeout=200)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  seconds = time.monotonic() - start
  return [(p.returncode, err, seconds) for p, err in zip(processes, errors)]


@pytest.mark.slow
@pytest.mark.parametrize('script', [MISTAKE, DIES, DIES_IN_A_COLLECTIVE])
def test_the_end_of_process_1_ends_process_0_and_jax_names_it(script):
  """Process 0's own death: test_processes.py."""
  (code, err, seconds), ended = run(script)
  assert code not in (0, None) and seconds < 100
  assert 'heartbeats):\n1\n' in err, err
  assert ended[0] == (2 if script == MISTAKE else 9)
  assert ('error: no such file.' in ended[1]) == (script == MISTAKE)


def test_launchers_are_detected():
  slurm = {
    'SLURM_JOB_ID': '7', 'SLURM_STEP_NODELIST': 'a[1-2]',
    'SLURM_NTASKS': '2', 'SLURM_PROCID': '1', 'SLURM_LOCALID': '0',
  }  # fmt: skip
  assert distributed._launched(slurm) == (2, 1)
  assert distributed._launched(slurm | {'SLURM_NTASKS': '1'}) is None
  # A shell of salloc, which is no step.
  del slurm['SLURM_STEP_NODELIST']
  assert distributed._launched(slurm) is None
  mpi = {'OMPI_COMM_WORLD_SIZE': '3', 'OMPI_COMM_WORLD_RANK': '2'}
  assert distributed._launched(mpi) == (3, 2)
  assert distributed._launched({}) is None


@pytest.mark.parametrize(
  'arguments, flag',
  [
    ((None, 2, 0), '--coordinator'),
    (('host', 2, 0), '--coordinator'),
    (('host:1', None, 0), '--processes'),
    (('host:1', 2, 2), '--process'),
  ],
)
def test_flags_that_contradict_each_other_are_refused(arguments, flag):
  with pytest.raises(UserError, match=flag):
    distributed.initialise(*arguments)


def test_a_process_alone_communicates_with_itself():
  distributed.initialise()
  tree = {'a': np.arange(3)}
  assert distributed.gather(tree) is tree
  assert distributed.from_first(tree) is tree
  assert distributed.first() and not distributed.several()
  distributed.check_same('config', {'a': 1, 'b': (2, 'x')})
  distributed.exit_after(ValueError())

"""Pools of worker processes: killed workers, errors, and held Ctrl-C."""

import multiprocessing
import os
import signal
import time

import pytest

from vivit_jax import processes
from vivit_jax.errors import UserError


def test_a_killed_worker_is_an_error():
  with pytest.raises(UserError, match='^too little memory$'):
    with processes.pool(1, 'too little memory') as pool:
      pool.submit(os._exit, 9).result()


def test_an_error_ends_the_processes_at_once():
  begin = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    with processes.pool(1, '') as pool:
      assert pool.submit(os.getppid).result() == os.getpid()
      pool.submit(time.sleep, 300)
      raise KeyboardInterrupt
  assert time.monotonic() - begin < 200
  assert not multiprocessing.active_children()


@pytest.mark.parametrize(
  'handler, comes',
  [(signal.default_int_handler, True), (signal.SIG_IGN, False)],
)
def test_a_held_ctrl_c_comes_later_unless_it_is_ignored(handler, comes):
  before = signal.signal(signal.SIGINT, handler)
  done = []
  try:
    with processes.defer_sigint():
      os.kill(os.getpid(), signal.SIGINT)
      done.append('inside')
    done.append('after')
  except KeyboardInterrupt:
    done.append('interrupt')
  finally:
    assert signal.signal(signal.SIGINT, before) == handler
  assert done == ['inside', 'interrupt' if comes else 'after']

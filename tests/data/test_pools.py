"""Pools of worker processes: they end with what they were begun for."""

import multiprocessing
import os
import time

import pytest

from vivit_jax.data import processes
from vivit_jax.errors import UserError


def test_a_process_ended_from_outside_is_one_sentence():
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

"""One process at a time in a folder, and who only looks is none."""

import threading

import pytest

from vivit_jax import locks
from vivit_jax.errors import UserError


def test_a_locked_folder_is_told_and_refused(tmp_path):
  assert not locks.is_locked(tmp_path)
  assert not locks.is_locked(tmp_path / 'absent')
  with locks.locked(tmp_path, 'in use'):
    assert locks.is_locked(tmp_path)
    with (
      pytest.raises(UserError, match='in use'),
      locks.locked(tmp_path, 'in use'),
    ):
      pass
  assert not locks.is_locked(tmp_path)


def test_one_that_looks_for_a_moment_is_waited_for(tmp_path):
  looking = locks.locked(tmp_path, 'in use')
  looking.__enter__()
  timer = threading.Timer(0.02, lambda: looking.__exit__(None, None, None))
  timer.start()
  with locks.locked(tmp_path, 'in use'):
    assert locks.is_locked(tmp_path)
  timer.join()

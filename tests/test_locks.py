"""One process at a time in a folder."""

import pytest

from vivit_jax import locks
from vivit_jax.errors import UserError


def test_a_locked_folder_is_refused_until_it_is_released(tmp_path):
  with locks.locked(tmp_path, 'in use'):
    with pytest.raises(UserError, match='in use'):
      with locks.locked(tmp_path, 'in use'):
        pass
  with locks.locked(tmp_path, 'in use'):
    pass
  assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise OSError('not supported')

  monkeypatch.setattr(locks.filelock, 'lock_descriptor', fail)
  with locks.locked(tmp_path, 'in use'):
    pass

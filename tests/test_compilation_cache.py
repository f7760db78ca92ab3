"""Compiled programs: stored, loaded, never trusted blindly, same results."""

import os
import pathlib

import demo
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from vivit_jax import compilation_cache, distributed
from vivit_jax.errors import UserError

HIT = '/jax/compilation_cache/cache_hits'


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
  """Gives a jax without settings, and a user without a cache; undoes all."""
  names = [
    'jax_enable_compilation_cache',
    'jax_compilation_cache_dir',
    *compilation_cache._SETTINGS,
  ]
  before = {name: getattr(jax.config, name) for name in names}
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', None)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  jax_cache.reset_cache()
  jax.clear_caches()


@pytest.fixture
def hits():
  """Gives a list of the programs that jax loaded, as it grows."""
  found = []

  def note(event, **_):
    if event == HIT:
      found.append(event)

  jax.monitoring.register_event_listener(note)
  yield found
  jax.monitoring.unregister_event_listener(note)


def compute() -> np.ndarray:
  """Compiles a program as a new process would, and runs it."""
  jax.clear_caches()
  jax_cache.reset_cache()
  x = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
  return np.asarray(jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0))(x))


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.rglob('*-cache'))


def test_the_second_run_loads_what_the_first_compiled(tmp_path, hits, capfd):
  compilation_cache.set_up()
  root = tmp_path / 'cache' / 'vivit_jax' / 'xla'
  (folder,) = root.iterdir()
  assert jax.config.jax_compilation_cache_max_size == 2 * 2**30
  for path in (root, folder):
    assert path.stat().st_mode & 0o777 == 0o700
  first = compute()
  stored = entries(folder)
  assert stored and not hits
  np.testing.assert_array_equal(compute(), first)
  assert len(hits) == len(stored) == len(entries(folder))
  assert capfd.readouterr().err == ''


@pytest.mark.parametrize('damage', ['cut', 'empty', 'flip'])
def test_a_damaged_entry_is_compiled_again(tmp_path, hits, damage):
  compilation_cache.set_up(str(tmp_path / 'mine'))
  first = compute()
  stored = entries(tmp_path)
  assert stored
  for path in stored:
    held = bytearray(path.read_bytes())
    middle = len(held) // 2
    held[middle] ^= 1
    path.write_bytes({'cut': held[:middle], 'empty': b'', 'flip': held}[damage])
  with pytest.warns(UserWarning, match='Error reading persistent compilation'):
    np.testing.assert_array_equal(compute(), first)
  assert not hits


def test_flag_and_environment_decide(tmp_path, monkeypatch):
  def used() -> str | None:
    config = jax.config
    on = config.jax_enable_compilation_cache
    return config.jax_compilation_cache_dir if on else None

  with monkeypatch.context() as patch:
    patch.setattr(distributed, 'several', lambda: True)
    compilation_cache.set_up()
  assert used() is None  # several processes share only a named folder
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'jax'))
  compilation_cache.set_up()  # as of JAX_COMPILATION_CACHE_DIR
  assert used() == str(tmp_path / 'jax')
  compilation_cache.set_up('off')
  compute()
  assert used() is None
  compilation_cache.set_up()  # as of JAX_ENABLE_COMPILATION_CACHE
  assert used() is None and not list(tmp_path.iterdir())
  compilation_cache.set_up(str(tmp_path / 'flag'))
  assert used().startswith(str(tmp_path / 'flag'))
  for wrong in ('', 'gs://mine'):
    with pytest.raises(UserError, match=f"'{wrong}'"):
      compilation_cache.set_up(wrong)


@pytest.mark.parametrize(
  'mode, user, words',
  [
    (0o770, 0, 'others can write to'),
    (0o700, 1, 'belongs to another user'),
    (None, 0, 'File exists'),  # no folder at all
  ],
)
def test_a_foreign_folder_is_not_used(
  tmp_path, monkeypatch, capfd, mode, user, words
):
  folder = tmp_path / 'mine'
  if mode is None:
    folder.touch()
  else:
    folder.mkdir()
    folder.chmod(mode)
  monkeypatch.setattr(os, 'geteuid', lambda: folder.stat().st_uid + user)
  compilation_cache.set_up(str(folder))
  compute()
  assert not entries(tmp_path)
  err = capfd.readouterr().err
  assert words in err and str(folder) in err and err.count('\n') == 1


@pytest.mark.slow
def test_training_is_the_same_bit_for_bit(tmp_path, prepared):
  """Without a cache, with an empty one, and with a full one."""
  found = {}
  for name in ('off', 'empty', 'full'):
    cache = 'off' if name == 'off' else tmp_path / 'cache'
    keys = dict(train__epochs=0.5, train__log_every=1)
    process = demo.start(
      'train.py',
      *demo.flags(prepared, **keys),
      f'--workdir={tmp_path / name}',
      f'--compilation_cache={cache}',
    )
    demo.finish(process)
    found[name] = [
      {k: x for k, x in row.items() if 'second' not in k}
      for row in demo.rows(tmp_path / name)
    ]
  assert len(found['off']) > 2 and entries(tmp_path / 'cache')
  assert found['off'] == found['empty'] == found['full']

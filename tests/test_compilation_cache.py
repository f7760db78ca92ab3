"""Where compiled programs are kept, and that they compute the same."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated
from jax._src import compilation_cache as of_jax

from vivit_jax import compilation_cache
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
_SETTINGS = (
  'jax_enable_compilation_cache',
  'jax_compilation_cache_dir',
  'jax_persistent_cache_enable_xla_caches',
  'jax_persistent_cache_min_compile_time_secs',
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
  """Gives a jax with a cache that nobody has set up, and a home; undoes all."""
  before = {name: getattr(jax.config, name) for name in _SETTINGS}
  open_jaxs = of_jax.get_file_cache
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', None)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  of_jax.reset_cache()
  jax.clear_caches()
  yield
  of_jax.get_file_cache = open_jaxs
  for name, value in before.items():
    jax.config.update(name, value)
  of_jax.reset_cache()
  jax.clear_caches()


@pytest.fixture
def events():
  """Gives a list of jax's events, as they come."""
  told = []
  jax.monitoring.register_event_listener(
    listener := lambda x, **_: told.append(x)
  )
  yield told
  jax.monitoring.unregister_event_listener(listener)


def compute() -> np.ndarray:
  """Compiles a program anew, as a new process would, and runs it."""
  jax.clear_caches()
  of_jax.reset_cache()
  x = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
  return np.asarray(jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0))(x))


def programs(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.rglob('*.xla-program'))


HIT = '/jax/compilation_cache/cache_hits'


def test_the_second_process_loads_what_the_first_compiled(
  fresh, tmp_path, events, capfd
):
  compilation_cache.set_up()
  assert not (tmp_path / 'cache').exists()  # before there is a program
  first = compute()
  (folder,) = (tmp_path / 'cache' / 'vivit_jax' / 'xla').iterdir()
  assert folder.stat().st_mode & 0o777 == 0o700
  assert folder.parent.stat().st_mode & 0o777 == 0o700
  kept = programs(folder)
  assert kept and events.count(HIT) == 0
  again = compute()
  assert events.count(HIT) == len(kept) == len(programs(folder))
  np.testing.assert_array_equal(first, again)
  assert capfd.readouterr().err == ''


@pytest.mark.parametrize('damage', ['cut', 'empty', 'flip'])
def test_damaged_programs_are_compiled_again(
  fresh, tmp_path, events, capfd, damage
):
  compilation_cache.set_up(str(tmp_path / 'kept'))
  first = compute()
  kept = {path: path.read_bytes() for path in programs(tmp_path)}
  for path, held in kept.items():
    damaged = bytearray(held)
    damaged[len(held) // 2] ^= 1
    parts = {'cut': held[:-1], 'empty': b'', 'flip': damaged}
    path.write_bytes(parts[damage])
  np.testing.assert_array_equal(compute(), first)
  assert events.count(HIT) == 0
  told = capfd.readouterr().err
  assert told.count('\n') == 1 and told.startswith('warning: compilation cache')
  np.testing.assert_array_equal(compute(), first)
  assert events.count(HIT) == len(kept)
  assert capfd.readouterr().err == ''


def test_the_place_of_the_folder_is_no_part_of_a_programs_key(fresh, tmp_path):
  names = []
  for place in ('one', 'other'):
    jax.config.update('jax_compilation_cache_dir', None)
    compilation_cache.set_up(str(tmp_path / place))
    compute()
    names.append([path.name for path in programs(tmp_path / place)])
  assert names[0] == names[1] != []


def test_off_is_off(fresh, tmp_path):
  compilation_cache.set_up('off')
  compute()
  assert list(tmp_path.iterdir()) == []


def test_what_jax_was_told_is_left_alone(fresh, tmp_path):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'own'))
  compilation_cache.set_up()
  compute()
  assert list((tmp_path / 'own').glob('*-cache'))
  assert not (tmp_path / 'cache').exists()
  jax.config.update('jax_enable_compilation_cache', False)
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.set_up()
  assert jax.config.jax_compilation_cache_dir is None


def test_an_empty_folder_of_jax_is_none_that_it_was_told(fresh, tmp_path):
  jax.config.update('jax_compilation_cache_dir', '')
  compilation_cache.set_up()
  expected = str(compilation_cache.users_folder())
  assert jax.config.jax_compilation_cache_dir == expected


def test_the_flag_is_stronger_than_what_jax_was_told(fresh, tmp_path):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'own'))
  jax.config.update('jax_enable_compilation_cache', False)
  compilation_cache.set_up(str(tmp_path / 'flag'))
  compute()
  assert programs(tmp_path / 'flag') and not (tmp_path / 'own').exists()


def test_what_is_no_folder_is_a_mistake():
  with pytest.raises(UserError, match='--compilation_cache is empty'):
    compilation_cache.set_up('')
  with pytest.raises(UserError, match='is gs://mine; it takes a folder'):
    compilation_cache.set_up('gs://mine')


@pytest.mark.parametrize(
  'backend, given, used',
  [('gpu', False, False), ('gpu', True, True), ('cpu', False, True)],
)
def test_processes_on_gpus_share_only_a_folder_that_is_named(
  fresh, tmp_path, monkeypatch, backend, given, used
):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  root = tmp_path / 'cache' / 'vivit_jax' / 'xla'
  compilation_cache.set_up(str(root) if given else None)
  found = of_jax.get_file_cache(str(root))
  assert (found is not None) == root.exists() == used


def _written_by_others(folder, monkeypatch):
  folder.mkdir()
  folder.chmod(0o770)


def _of_another_user(folder, monkeypatch):
  folder.mkdir(mode=0o700)
  monkeypatch.setattr(os, 'geteuid', lambda: folder.stat().st_uid + 1)


def _a_file(folder, monkeypatch):
  folder.write_text('')


def _read_only(folder, monkeypatch):
  folder.mkdir(mode=0o500)
  monkeypatch.setattr(os, 'access', lambda *_: False)  # root may do all


@pytest.mark.parametrize(
  'spoil, words',
  [
    (_written_by_others, 'others can write in it'),
    (_of_another_user, 'belongs to another user'),
    (_a_file, 'File exists'),
    (_read_only, 'cannot be written in'),
  ],
)
def test_a_folder_that_cannot_be_trusted_is_not_used(
  fresh, tmp_path, monkeypatch, capfd, spoil, words
):
  folder = tmp_path / 'kept'
  spoil(folder, monkeypatch)
  compilation_cache.set_up(str(folder))
  jax.clear_caches()
  for number in (2, 3):
    assert jax.jit(lambda x, n=number: x * n)(np.float32(3)) == 3 * number
  assert not programs(tmp_path)
  told = capfd.readouterr().err
  assert words in told and told.count('\n') == 1, told
  assert str(folder) in told


def test_the_users_folder_is_that_of_the_standard(monkeypatch):
  monkeypatch.setenv('HOME', '/home/ann')
  home = pathlib.Path('/home/ann/.cache/vivit_jax/xla')
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  assert compilation_cache.users_folder() == home
  monkeypatch.setenv('XDG_CACHE_HOME', 'not/absolute')
  assert compilation_cache.users_folder() == home
  monkeypatch.setenv('XDG_CACHE_HOME', '/scratch/ann')
  found = compilation_cache.users_folder()
  assert found == pathlib.Path('/scratch/ann/vivit_jax/xla')


CPU = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some Xeon
cpu MHz\t\t: {speed}
flags\t\t: fpu {flags}

processor\t: 1
flags\t\t: fpu {flags}
"""


def test_a_machine_is_its_cpu_and_its_cores(tmp_path, monkeypatch):
  cpu = tmp_path / 'cpuinfo'
  monkeypatch.setattr(compilation_cache, '_CPUINFO', cpu)

  def of(flags='avx2', speed=2000, cores=4):
    cpu.write_text(CPU.format(flags=flags, speed=speed))
    monkeypatch.setattr(compilation_cache, '_cores', lambda: cores)
    return compilation_cache.machine()

  assert of() == of(speed=3000)
  assert len({of(), of(flags='avx2 amx_tile'), of(cores=1)}) == 3


def test_nothing_is_set_up_on_import():
  code = """
import jax
import vivit_jax
from vivit_jax import commands, compilation_cache
from vivit_jax.inference import export_command, predictor
from vivit_jax.training import loop
assert jax.config.jax_compilation_cache_dir is None
"""
  subprocess.run([sys.executable, '-c', code], check=True, env=_environment())


def _environment(devices: int = 1, **more) -> dict[str, str]:
  """Returns that of a process which may use a cache."""
  found = simulated.environment(devices) | more
  for name in ('JAX_ENABLE_COMPILATION_CACHE', 'JAX_COMPILATION_CACHE_DIR'):
    found.pop(name, None)
  return found


def _run(script, *flags, devices=1, **more) -> str:
  """Runs a command; returns what it said on the standard error."""
  done = subprocess.run(
    [sys.executable, ROOT / script, *flags],
    env=_environment(devices, **more),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stderr


def _computed(workdir: pathlib.Path) -> dict:
  """Returns a run's figures but for times; parameters are in their scores."""
  lines = [
    json.loads(line)
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  figures = [
    {k: x for k, x in line.items() if 'second' not in k} for line in lines
  ]
  with np.load(workdir / 'evaluation' / 'test' / 'predictions.npz') as arrays:
    bits = {name: arrays[name].tobytes() for name in arrays.files}
  return {'figures': figures, **bits}


@pytest.mark.slow
@pytest.mark.parametrize('devices', [1, 2])
def test_runs_are_the_same_bit_for_bit_with_and_without(
  tmp_path, prepared, devices
):
  """Without, with an empty cache, with a full one, and with a damaged one."""
  home = tmp_path / 'home'
  found, told = {}, {}
  for name in ('without', 'empty', 'full', 'damaged'):
    if name == 'damaged':
      kept = programs(home)
      assert len(kept) > 2
      for number, path in enumerate(kept):
        held = bytearray(path.read_bytes())
        held[len(held) // 2] ^= 1
        path.write_bytes(held[:-7] if number % 2 else held)
    off = ['--compilation_cache=off'] * (name == 'without')
    given = {'devices': devices, 'XDG_CACHE_HOME': str(home)}
    workdir = tmp_path / name
    told[name] = _run(
      'train.py',
      f'--workdir={workdir}',
      f'--config={ROOT}/configs/moving_shapes_ti8x2_fe.py',
      f'--config.data.data_dir={prepared}',
      '--config.data.workers=0',
      '--config.model.options.spatial_layers=1',
      '--config.model.options.temporal_layers=1',
      '--config.model.stochastic_depth=0.2',
      '--config.augment.mixup=0.3',
      '--config.train.batch_size=8',
      '--config.train.epochs=1',
      '--config.train.log_every=1',
      *off,
      **given,
    )
    _run('evaluate.py', f'--workdir={workdir}', *off, **given)
    if name == 'without':
      assert not programs(home)
    found[name] = _computed(workdir)
  assert len(found['without']['figures']) > 6
  for name in ('empty', 'full', 'damaged'):
    assert found[name] == found['without'], name
  assert told['empty'] == told['full'] == told['without']
  warnings = [x for x in told['damaged'].splitlines() if 'warning' in x]
  assert len(warnings) == 1 and 'damaged' in warnings[0]

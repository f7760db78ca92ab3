"""Processes of a sweep: failures, signals, one sweep a folder, devices."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from planned import RATES, planned

from vivit_jax import config as configs
from vivit_jax import config_file
from vivit_jax.checkpoints import run as workdir
from vivit_jax.errors import UserError
from vivit_jax.sweeps import folders, processes

ROOT = pathlib.Path(__file__).parents[2]
# In the place of train.py: does what the file `does` in its workdir says, and
# counts there how often it was started.
FAKE = """
import json, os, pathlib, runpy, signal, sys, time
from vivit_jax import commands, locks
commands.obey_sweep()
flags = dict(argument[2:].split('=', 1) for argument in sys.argv[1:])
folder = pathlib.Path(flags['workdir'])
config = runpy.run_path(flags['config'])['get_config']()
(folder / 'config.json').write_text(config.to_json())
with open(folder / 'starts', 'a') as starts:
  starts.write('x')
with open(folder / 'metrics.jsonl', 'a') as file:
  for step, top1 in ((1, config.optim.learning_rate), (2, 0.05)):
    file.write(json.dumps({'step': step, 'validation/top1': top1}) + '\\n')
  file.write('{"step": 3, "valid')
does = folder / 'does'
does = does.read_text() if does.exists() else 'end'
if does == 'fail':
  print('error: as it was told.\\n', file=sys.stderr)
  sys.exit(3)
if does.startswith('stop'):
  sys.exit(int(does.split()[1]))
if does == 'terminate':
  signal.raise_signal(signal.SIGTERM)
if does in ('wait', 'ignore', 'write slowly'):
  lock = locks.locked(folder, 'in use')
  lock.__enter__()
  signals = []
  for which in (signal.SIGINT, signal.SIGTERM):
    signal.signal(which, lambda signum, _: signals.append(signum))
  (folder / 'pid').write_text(str(os.getpid()))
  (folder / 'pid').rename(folder / 'ready')
  while not signals or does == 'ignore':
    time.sleep(0.01)
  (folder / 'signal').write_text(str(int(signals[0])))
  if does == 'write slowly':
    time.sleep(1)
    (folder / 'written').touch()
  sys.exit(128 + signals[0])
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
  path = tmp_path / 'fake.py'
  path.write_text(FAKE)
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  return (sys.executable, str(path))


def starts(folder):
  path = folder / 'starts'
  return len(path.read_text()) if path.exists() else 0


def test_runs_go_on_after_a_failure_and_finished_ones_are_left(
  tmp_path, program, capfd
):
  runs = planned(tmp_path, RATES)
  folder = tmp_path / 'sweep'
  second = folder / 'learning_rate=0.2'
  second.mkdir(parents=True)
  (second / 'does').write_text('fail')
  assert processes.run_all(runs, folder, program=program) == 1
  out = capfd.readouterr().out
  assert 'learning_rate=0.2 failed with code 3: error: as it was told.' in out
  assert f'its log is {second / "log.txt"}' in out
  assert '1 of 3 runs failed' in out
  assert folders.state(second) == 'failed'
  log = (second / 'log.txt').read_text().splitlines()
  assert log[0].startswith('$ ') and '--workdir=' in log[0]
  (second / 'does').unlink()
  assert processes.run_all(runs, folder, program=program) == 0
  assert [starts(folder / run.name) for run in runs] == [1, 2, 1]
  assert capfd.readouterr().out.count('was finished before') == 2
  assert folders.state(second) == 'finished'
  assert not (second / 'failed').exists()
  for run in runs:
    config = json.loads((folder / run.name / 'config.json').read_text())
    assert (
      config['optim']['learning_rate'] == (run.overrides['optim.learning_rate'])
    )


def test_paths_hold_in_any_folder(tmp_path, monkeypatch):
  """As an array's tasks run in the repository."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'start.npz').touch()
  runs = planned(
    tmp_path, [{'init_from': 'start.npz', 'data.data_dir': 'my data'}]
  )
  folder = tmp_path / 'sweep'
  folders.write(runs, folder)
  experiment = folder / runs[0].name / 'experiment.py'
  config = config_file.run(str(experiment))
  assert config.init_from == str(tmp_path / 'start.npz')
  assert config.data.data_dir == str(tmp_path / 'my data')
  assert config.class_order is None
  # It is the same experiment, begun by either path.
  workdir.check_same(runs[0].config, config, folder)
  moved = dataclasses.replace(config, init_from='/other.npz')
  with pytest.raises(UserError, match='init_from is'):
    workdir.check_same(runs[0].config, moved, folder)


@pytest.mark.parametrize('does', ['stop 143', 'stop 130', 'terminate'])
def test_a_run_that_a_signal_stopped_has_not_failed(
  tmp_path, program, capfd, does
):
  """As when a scheduler ends one of several processes."""
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'end')
  (folders[1] / 'does').write_text(does)
  assert processes.run_all(runs, tmp_path / 'sweep', program=program) == 130
  out = capfd.readouterr().out
  assert f'{runs[1].name}: stopped' in out and 'failed' not in out
  assert '1 of 3 runs are left; the same command goes on' in out
  assert [starts(folder) for folder in folders] == [1, 1, 1]
  (folders[1] / 'does').unlink()
  assert processes.run_all(runs, tmp_path / 'sweep', program=program) == 0
  assert [starts(folder) for folder in folders] == [1, 2, 1]


def test_another_config_is_refused_before_anything_starts(tmp_path, program):
  folder = tmp_path / 'sweep'
  runs = planned(tmp_path, RATES)
  (folder / runs[2].name).mkdir(parents=True)
  other = configs.default()
  other.train.seed = 4
  (folder / runs[2].name / 'config.json').write_text(
    configs.to_json(configs.resolve(other))
  )
  with pytest.raises(UserError, match='train.seed is 4 there and 0 now'):
    processes.run_all(runs, folder, program=program)
  assert not (folder / runs[0].name).exists()


@pytest.mark.parametrize(
  'key, values, words',
  [
    (
      'init_from',
      [None, '/absent'],
      'init_from=absent: cannot read .* /absent',
    ),
    ('model.size', ['B', 'XL'], "size=XL: model.size is 'XL'"),
    ('train.wandb', [None, 'me'], 'wandb=me: .* but wandb is not installed'),
  ],
)
def test_an_impossible_run_is_refused_before_anything_starts(
  tmp_path, program, monkeypatch, key, values, words
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  runs = planned(tmp_path, [{key: value} for value in values])
  with pytest.raises(UserError, match=words):
    folders.check(runs)
  with pytest.raises(UserError, match=words):
    processes.run_all(runs, tmp_path / 'sweep', program=program)
  assert not (tmp_path / 'sweep').exists()


def test_a_run_that_goes_on_needs_what_it_began_with_no_more(tmp_path, program):
  runs = planned(tmp_path, [{'init_from': '/absent'}])
  folder = tmp_path / 'sweep' / runs[0].name
  (folder / 'checkpoints' / '3').mkdir(parents=True)
  assert processes.run_all(runs, tmp_path / 'sweep', program=program) == 0


def sweeping(tmp_path, program, parallel=1):
  """Starts a sweep in a process of its own, as sweep.py does."""
  code = (
    'import sys\n'
    'from vivit_jax import config, sweeps\n'
    'from vivit_jax.sweeps import processes\n'
    f'runs = sweeps.plan(config.resolve(config.default()), '
    f'{str(tmp_path / "mine.py")!r})\n'
    f'sys.exit(processes.run_all(runs, {str(tmp_path / "sweep")!r}, '
    f'parallel={parallel}, program={tuple(program)!r}))\n'
  )
  return subprocess.Popen(
    [sys.executable, '-c', code],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for(*paths):
  end = time.monotonic() + 60
  while not all(path.exists() for path in paths):
    assert time.monotonic() < end
    time.sleep(0.02)


def is_alive(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


def told(tmp_path, runs, does):
  folders = [tmp_path / 'sweep' / run.name for run in runs]
  for folder in folders:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'does').write_text(does)
  return folders


@pytest.mark.parametrize('which', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_runs_and_the_same_command_goes_on(
  tmp_path, program, which
):
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'wait')
  process = sweeping(tmp_path, program, parallel=2)
  wait_for(*(folder / 'ready' for folder in folders[:2]))
  assert not (folders[2] / 'ready').exists()  # two at a time
  process.send_signal(which)
  out, err = process.communicate(timeout=30)
  assert process.returncode == 128 + which, out + err
  assert '3 of 3 runs are left; the same command goes on' in out
  for folder in folders[:2]:
    assert (folder / 'signal').read_text() == str(int(which))
  told(tmp_path, runs, 'end')
  code = processes.run_all(
    runs, tmp_path / 'sweep', parallel=2, program=program
  )
  assert code == 0
  assert [starts(folder) for folder in folders] == [2, 2, 1]


@pytest.mark.skipif(
  not sys.platform.startswith('linux'), reason='processes outlive their parent'
)
def test_a_killed_sweep_leaves_checkpoints_and_the_same_command_waits(
  tmp_path, program, capfd
):
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'end')
  (folders[0] / 'does').write_text('write slowly')
  process = sweeping(tmp_path, program)
  wait_for(folders[0] / 'ready')
  process.kill()
  process.wait()
  (folders[0] / 'does').write_text('end')
  assert processes.run_all(runs, tmp_path / 'sweep', program=program) == 0
  process.communicate()
  assert (folders[0] / 'signal').read_text() == str(int(signal.SIGTERM))
  assert (folders[0] / 'written').exists()
  out = capfd.readouterr().out
  assert f'{runs[0].name}: still running, in another process' in out
  # The others are not kept waiting.
  assert out.index(f'3, {runs[1].name}: begins') < out.index(
    f'3, {runs[0].name}: begins'
  )
  assert [starts(folder) for folder in folders] == [2, 1, 1]


def test_a_process_that_begins_after_its_sweeps_end_leaves(tmp_path, program):
  ended = subprocess.Popen(['true'])
  ended.wait()
  done = subprocess.run(
    [sys.executable, '-c', 'from vivit_jax import commands as c\n'
     'c.obey_sweep()\nprint("goes on")'],
    env=os.environ | {'VIVIT_SWEEP': str(ended.pid)},
    capture_output=True,
    text=True,
  )  # fmt: skip
  assert done.returncode == 143 and not done.stdout
  me = os.environ | {'VIVIT_SWEEP': str(os.getpid())}
  code = 'from vivit_jax import commands as c\nc.obey_sweep()'
  subprocess.run([sys.executable, '-c', code], env=me, check=True)


def test_a_third_signal_kills(tmp_path, program):
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'ignore')
  process = sweeping(tmp_path, program)
  wait_for(folders[0] / 'ready')
  run = int((folders[0] / 'ready').read_text())
  # No more of them than it takes: Python's own ending ignores none.
  while is_alive(run):
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
  out, err = process.communicate(timeout=30)
  assert process.returncode == 130, out + err
  assert not (folders[0] / 'signal').exists()


def test_one_sweep_at_a_time_in_a_folder(tmp_path, program):
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'wait')
  process = sweeping(tmp_path, program)
  wait_for(folders[0] / 'ready')
  with pytest.raises(UserError, match='another sweep is running in'):
    processes.run_all(runs, tmp_path / 'sweep', program=program)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=30)


def test_processes_share_the_devices(monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
  folder = pathlib.Path('a sweep')

  def devices(slot, parallel):
    environment = processes._environment(slot, parallel, folder)
    return environment['CUDA_VISIBLE_DEVICES']

  assert [devices(slot, 2) for slot in range(2)] == ['4,6', '5,7']
  assert devices(0, 1) == '4,5,6,7'


def test_runs_of_a_sweep_are_a_group(monkeypatch):
  folder = pathlib.Path('runs') / 'rates'
  monkeypatch.delenv('WANDB_RUN_GROUP', raising=False)
  assert processes._environment(0, 1, folder)['WANDB_RUN_GROUP'] == 'rates'
  monkeypatch.setenv('WANDB_RUN_GROUP', 'mine')
  assert processes._environment(0, 1, folder)['WANDB_RUN_GROUP'] == 'mine'

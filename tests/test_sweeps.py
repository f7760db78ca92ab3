"""Sweeps: their runs, names and mistakes, the processes, what is told of it."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax import sweep_processes, sweep_reports, sweeps
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
# In the place of train.py: does what the file `does` in its workdir says, and
# counts there how often it was started.
FAKE = """
import json, pathlib, runpy, signal, sys, time
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
if does in ('wait', 'ignore'):
  signals = []
  for which in (signal.SIGINT, signal.SIGTERM):
    signal.signal(which, lambda signum, _: signals.append(signum))
  (folder / 'ready').touch()
  while not signals or does == 'ignore':
    time.sleep(0.01)
  (folder / 'signal').write_text(str(int(signals[0])))
  sys.exit(130)
"""
RATES = sweeps.values('optim.learning_rate', [0.1, 0.2, 0.3])


@pytest.fixture
def program(tmp_path, monkeypatch):
  path = tmp_path / 'fake.py'
  path.write_text(FAKE)
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  return (sys.executable, str(path))


def planned(tmp_path, body, base=None, given=()):
  path = tmp_path / 'mine.py'
  path.write_text(
    'import numpy as np\n'
    'from vivit_jax import sweeps\n'
    f'def sweep():\n  return {body}\n'
  )
  return sweeps.plan(
    base or configs.resolve(configs.default()), str(path), given
  )


def starts(folder):
  path = folder / 'starts'
  return len(path.read_text()) if path.exists() else 0


def test_parts_are_crossed_and_chained():
  crossed = sweeps.product(
    sweeps.values('a', [1, 2]),
    sweeps.chain(sweeps.values('b', [3, 4]), sweeps.fixed({'c': 5})),
    sweeps.fixed({'d': 6}),
  )
  assert crossed == [
    {'a': 1, 'b': 3, 'd': 6},
    {'a': 1, 'b': 4, 'd': 6},
    {'a': 1, 'c': 5, 'd': 6},
    {'a': 2, 'b': 3, 'd': 6},
    {'a': 2, 'b': 4, 'd': 6},
    {'a': 2, 'c': 5, 'd': 6},
  ]
  with pytest.raises(ValueError, match='two parts of a product override a'):
    sweeps.product(sweeps.values('a', [1]), sweeps.fixed({'a': 2}))


def test_a_run_is_the_config_with_its_overrides(tmp_path):
  runs = planned(
    tmp_path,
    "sweeps.product(sweeps.values('optim.clip_norm', [None, 2]),"
    " sweeps.values('optim.learning_rate', np.geomspace(0.01, 1, 3)),"
    " sweeps.fixed({'model.heads': {'verb': 3}}))",
  )
  assert [run.name for run in runs][:2] == [
    'clip_norm=None,learning_rate=0.01',
    'clip_norm=None,learning_rate=0.1',
  ]
  last = runs[-1].config
  assert (last.optim.clip_norm, last.optim.learning_rate) == (2.0, 1.0)
  assert last.model.heads == {'verb': 3}
  assert runs[0].config.optim.clip_norm is None
  assert type(runs[0].overrides['optim.learning_rate']) is float
  assert not isinstance(runs[0].overrides['optim.learning_rate'], np.generic)


def test_names_are_what_differs():
  name = sweeps.names
  assert name([{'a.x': 1, 'b.y': 2}, {'a.x': 3, 'b.y': 2}]) == ['x=1', 'x=3']
  assert name([{'a.x': 1, 'b.x': 2}, {'a.x': 3, 'b.x': 4}]) == [
    'a.x=1,b.x=2',
    'a.x=3,b.x=4',
  ]
  assert name([{'a.x': 1}, {}, {'b.y': 2}]) == ['x=1', 'default', 'y=2']
  assert name([{'a.x': 1}]) == ['x=1'] and name([{}]) == ['default']
  assert name([{'crop': (8, 4)}]) == ['crop=8x4']


def test_names_are_safe_and_unique():
  paths = ['/a/b c', '/a/b:c', 'CaSe', 'case', '../x', 'x' * 300]
  found = sweeps.names([{'init_from': path} for path in paths])
  assert len({name.lower() for name in found}) == len(paths)
  for name in found:
    assert len(name) <= 120 and set(name) < set(
      'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=.-+'
    )
  # Alike when rounded, and the same in every process.
  near = [{'x': 0.1234567}, {'x': 0.1234568}]
  assert sweeps.names(near) == sweeps.names(near)
  assert len(set(sweeps.names(near))) == 2


@pytest.mark.parametrize(
  'body, words',
  [
    (
      "[{'optim.learning_rat': 1.0}]",
      r"mine.py: unknown config key 'optim.learning_rat'. Did you mean "
      "'optim.learning_rate'",
    ),
    ("[{'batch_size': 4}]", "'batch_size'. Did you mean 'train.batch_size'"),
    ("[{'train': {}}]", "'train' is a section of keys; override one"),
    ("[{'train.seed': 'x'}]", "run seed=x: train.seed is 'x'.*int"),
    ("[{'train.batch_size': 0}]", 'batch_size=0: train.batch_size is 0; above'),
    ('[]', 'returns an empty list'),
    ('None', 'returns no list of dicts'),
    ("['train.seed']", 'returns no list of dicts'),
    ("[{'optim.b1': 0.5}]", 'optim.b1 is overridden by a flag and by sweep'),
    ('1 / 0', 'mine.py, line 4: ZeroDivisionError: division by zero'),
    (
      "sweeps.product([{'a': 1}], [{'a': 2}])",
      'mine.py, line 4: ValueError: two parts of a product override a',
    ),
  ],
)
def test_mistakes_are_named(tmp_path, body, words):
  with pytest.raises(UserError, match=words):
    planned(tmp_path, body, given=['optim.b1'])


def test_a_file_without_a_sweep_is_named(tmp_path):
  (tmp_path / 'mine.py').write_text('x = 3\n')
  with pytest.raises(UserError, match='mine.py has no function sweep'):
    sweeps.read(str(tmp_path / 'mine.py'))
  with pytest.raises(UserError, match='there is no config file .*absent.py'):
    sweeps.read(str(tmp_path / 'absent.py'))


def test_the_same_run_twice_is_one(tmp_path):
  runs = planned(
    tmp_path, "[{'train.seed': 1}, {'train.seed': 2}, {'train.seed': 1}]"
  )
  assert [run.name for run in runs] == ['seed=1', 'seed=2']


def test_runs_go_on_after_a_failure_and_finished_ones_are_left(
  tmp_path, program, capfd
):
  runs = planned(tmp_path, RATES)
  folder = tmp_path / 'sweep'
  second = folder / 'learning_rate=0.2'
  second.mkdir(parents=True)
  (second / 'does').write_text('fail')
  assert sweep_processes.run_all(runs, folder, program=program) == 1
  out = capfd.readouterr().out
  assert 'learning_rate=0.2 failed with code 3: error: as it was told.' in out
  assert f'its log is {second / "log.txt"}' in out
  assert '1 of 3 runs failed' in out
  log = (second / 'log.txt').read_text().splitlines()
  assert log[0].startswith('$ ') and '--workdir=' in log[0]
  (second / 'does').unlink()
  assert sweep_processes.run_all(runs, folder, program=program) == 0
  assert [starts(folder / run.name) for run in runs] == [1, 2, 1]
  assert capfd.readouterr().out.count('was finished before') == 2
  for run in runs:
    config = json.loads((folder / run.name / 'config.json').read_text())
    assert (
      config['optim']['learning_rate'] == (run.overrides['optim.learning_rate'])
    )


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
    sweep_processes.run_all(runs, folder, program=program)
  assert not (folder / runs[0].name).exists()


def sweeping(tmp_path, program, parallel=1):
  """Starts a sweep in a process of its own, as sweep.py does."""
  code = (
    'import sys\n'
    'from vivit_jax import config, sweep_processes, sweeps\n'
    f'runs = sweeps.plan(config.resolve(config.default()), '
    f'{str(tmp_path / "mine.py")!r})\n'
    f'sys.exit(sweep_processes.run_all(runs, {str(tmp_path / "sweep")!r}, '
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
  assert process.returncode == 130, out + err
  assert '3 of 3 runs are left; the same command goes on' in out
  for folder in folders[:2]:
    assert (folder / 'signal').read_text() == str(int(which))
  told(tmp_path, runs, 'end')
  code = sweep_processes.run_all(
    runs, tmp_path / 'sweep', parallel=2, program=program
  )
  assert code == 0
  assert [starts(folder) for folder in folders] == [2, 2, 1]


def test_a_third_signal_kills(tmp_path, program):
  runs = planned(tmp_path, RATES)
  folders = told(tmp_path, runs, 'ignore')
  process = sweeping(tmp_path, program)
  wait_for(folders[0] / 'ready')
  while process.poll() is None:
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
    sweep_processes.run_all(runs, tmp_path / 'sweep', program=program)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=30)


def test_processes_share_the_devices(monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
  shares = [
    sweep_processes._environment(slot, 2)['CUDA_VISIBLE_DEVICES']
    for slot in range(2)
  ]
  assert shares == ['4,6', '5,7']
  alone = sweep_processes._environment(0, 1)
  assert alone['CUDA_VISIBLE_DEVICES'] == '4,5,6,7'


def test_a_table_has_the_best_first(tmp_path):
  runs = planned(tmp_path, RATES)
  for run, lines in zip(
    runs, ([(1, 0.5), (2, 0.4)], [(1, 0.3), (2, 0.45)], [])
  ):
    folder = tmp_path / run.name
    folder.mkdir()
    (folder / 'metrics.jsonl').write_text(
      ''.join(
        json.dumps({'step': step, 'validation/top1': v, 'train/loss': v}) + '\n'
        for step, v in lines
      )
      + '{"step": 3, "vali'  # cut off by a hard stop
    )
  (tmp_path / runs[0].name / 'finished').touch()
  (tmp_path / runs[1].name / 'config.json').touch()

  def rows(*arguments):
    lines = sweep_reports.table(runs, tmp_path, *arguments).splitlines()
    return [line.split() for line in lines[1:]]

  first, second, third = (run.name for run in runs)
  assert rows('validation/top1') == [
    ['0.5000', '1', 'finished', first],
    ['0.4500', '2', 'begun', second],
    ['-', '-', 'not', 'begun', third],
  ]
  assert rows('validation/top1', 'last')[0] == ['0.4500', '2', 'begun', second]
  assert [row[0] for row in rows('train/loss')] == ['0.3000', '0.4000', '-']
  with pytest.raises(UserError, match="'top1'; there are train/loss, valid"):
    sweep_reports.table(runs, tmp_path, 'top1')
  with pytest.raises(UserError, match="has the metric 'top1' yet"):
    sweep_reports.table(runs, tmp_path / 'absent', 'top1')


def test_the_slurm_array_has_every_run(tmp_path):
  runs = planned(tmp_path, RATES)
  folder = tmp_path / 'a sweep'
  script = tmp_path / 'array.sh'
  sweep_reports.write_slurm(runs, folder, script)
  assert '#SBATCH --array=0-2\n' in script.read_text()
  subprocess.run(['bash', '-n', script], check=True)
  for number, run in enumerate(runs):
    done = subprocess.run(
      ['bash', script],
      env=os.environ | {'SLURM_ARRAY_TASK_ID': str(number), 'DRY_RUN': '1'},
      capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = shlex.split(done.stdout.splitlines()[-1])
    assert words[0] == 'srun' and sys.executable in words
    assert f'--workdir={folder / run.name}' in words
    config = f'--config={folder / run.name / "experiment.py"}'
    assert config in words and pathlib.Path(config[9:]).exists()
  (folder / runs[0].name / 'finished').touch()
  done = subprocess.run(['bash', script], capture_output=True, text=True)
  assert done.stdout == f'{runs[0].name} was finished before\n'


CONFIG = """
from configs import moving_shapes_ti8x2_fe
from vivit_jax import sweeps

def get_config():
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.spatial_layers = 1
  config.model.temporal_layers = 1
  config.train.batch_size = 8
  config.train.epochs = 0.5
  config.train.log_every = 1
  config.data.data_dir = {data!r}
  config.data.workers = 0
  return config

def sweep():
  return sweeps.values({key!r}, [0.001, 0.002])
"""


def sweep(*flags):
  return subprocess.run(
    [sys.executable, ROOT / 'sweep.py', *flags],
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )


def test_a_misspelt_key_ends_the_command_before_anything_starts(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(CONFIG.format(data='data', key='optim.learning_rat'))
  done = sweep(f'--config={path}', f'--workdir={tmp_path / "sweep"}')
  assert done.returncode == 2
  assert done.stderr == (
    f"error: sweep() of {path}: unknown config key 'optim.learning_rat'. Did "
    "you mean 'optim.learning_rate'?\n"
  )
  assert not (tmp_path / 'sweep').exists()


def test_show_shows_and_does_nothing(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(CONFIG.format(data='data', key='optim.learning_rate'))
  flags = (f'--config={path}', f'--workdir={tmp_path / "sweep"}')
  done = sweep(*flags, '--show')
  assert done.returncode == 0, done.stderr
  assert done.stdout == (
    '2 runs\n'
    'learning_rate=0.001\n  optim.learning_rate = 0.001\n'
    'learning_rate=0.002\n  optim.learning_rate = 0.002\n'
  )
  assert not (tmp_path / 'sweep').exists()
  assert '--show, --table' in sweep(*flags, '--show', '--table').stderr
  assert '--workdir is missing' in sweep(flags[0]).stderr
  assert '--parallel is 0; at least 1' in sweep(*flags, '--parallel=0').stderr


@pytest.mark.slow
def test_a_real_sweep_of_two_runs(prepared, tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(CONFIG.format(data=str(prepared), key='optim.learning_rate'))
  flags = (
    f'--config={path}',
    f'--workdir={tmp_path / "sweep"}',
    '--config.train.seed=3',
  )
  done = sweep(*flags)
  assert done.returncode == 0, done.stdout + done.stderr
  for rate in (0.001, 0.002):
    folder = tmp_path / 'sweep' / f'learning_rate={rate}'
    config = json.loads((folder / 'config.json').read_text())
    assert config['optim']['learning_rate'] == rate
    assert config['train']['seed'] == 3
    assert 'step 3/3' in (folder / 'log.txt').read_text()
  again = sweep(*flags)
  assert again.stdout.count('was finished before') == 2
  table = sweep(*flags, '--table')
  assert table.returncode == 0, table.stderr
  assert table.stdout.count('finished') == 2

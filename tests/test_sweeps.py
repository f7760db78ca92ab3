"""Sweeps: planned, named, run, resumed, stopped, compared."""

import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest
import shellcheck
import simulated

from vivit_jax import config as configs
from vivit_jax import sweeps
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
RATES = "[{'optim.learning_rate': rate} for rate in (0.1, 0.2, 0.3)]"
RUNS = [f'learning_rate={rate}' for rate in (0.1, 0.2, 0.3)]
# In place of train.py: does what the file `does` in its workdir says.
STUB = """
import json, os, pathlib, runpy, signal, sys, time
from vivit_jax import commands
commands.obey_sweep()
flags = dict(argument[2:].split('=', 1) for argument in sys.argv[1:])
folder = pathlib.Path(flags['workdir'])
config = runpy.run_path(flags['config'])['get_config']()
with open(folder / 'starts', 'a') as starts:
  starts.write(f'{config.optim.learning_rate}\\n')
(folder / 'devices').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', ''))
does = (folder / 'does').read_text() if (folder / 'does').exists() else 'end'
if does == 'fail':
  print('a line\\nerror: as the stub was told', file=sys.stderr)
  sys.exit(3)
if does == 'wait':
  for which in (signal.SIGINT, signal.SIGTERM):
    signal.signal(which, lambda signum, _: (
      (folder / 'signal').write_text(str(int(signum))), sys.exit(128 + signum)
    ))
  (folder / 'ready').touch()
  time.sleep(60)
"""


def write_config(folder, body):
  path = folder / 'mine.py'
  path.write_text(
    'import numpy as np\n'
    'from vivit_jax import config as configs\n'
    'def get_config():\n  return configs.default()\n'
    f'def sweep():\n  return {body}\n'
  )
  return str(path)


def plan(folder, body, given=()):
  base = configs.resolve(configs.default())
  return sweeps.plan(base, write_config(folder, body), given)


@pytest.fixture
def program(tmp_path, monkeypatch):
  (tmp_path / 'stub.py').write_text(STUB)
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  return (sys.executable, str(tmp_path / 'stub.py'))


def tell(folder, name, does):
  (folder / name).mkdir(parents=True, exist_ok=True)
  (folder / name / 'does').write_text(does)


def starts(folder):
  paths = [folder / name / 'starts' for name in RUNS]
  return [len(p.read_text().split()) if p.exists() else 0 for p in paths]


def test_a_run_is_the_config_with_its_overrides(tmp_path):
  body = (
    "[{'optim.learning_rate': rate, 'data.crop': np.array([32, 64]), "
    "'model.heads': {'verb': np.int64(3)}} for rate in np.geomspace(.01, 1, 3)]"
    " + [{'model.family': 'joint', 'model.options.layers': 3}] * 2"
  )
  *runs, joint = plan(tmp_path, body)
  assert len(runs) == 3  # and the same run twice is one
  last = runs[-1].config
  assert (last.optim.learning_rate, last.data.crop) == (1.0, (32, 64))
  assert last.model.heads == {'verb': 3}
  assert type(runs[0].overrides['optim.learning_rate']) is float
  assert joint.config.model.options.layers == 3


@pytest.mark.parametrize(
  'body, words',
  [
    ("[{'batch_size': 4}]", "'batch_size'.*'train.batch_size'"),
    ("[{'train': {}}]", "'train'"),
    ("[{'train.batch_size': 0}]", 'batch_size=0: train.batch_size'),
    ("[{'model.family': 'x'}]", 'family=x: model.family'),
    ("[{'optim.b1': 0.5}]", 'optim.b1 .*mine.py'),
    ('None', 'mine.py .*sweep'),
    ("['train.seed']", 'mine.py .*sweep'),
    ('1 / 0', 'mine.py, line 6: ZeroDivisionError'),
  ],
)
def test_mistakes_are_named(tmp_path, body, words):
  with pytest.raises(UserError, match=words):
    plan(tmp_path, body, given=['optim.b1'])


def test_a_flag_that_a_family_lacks_is_refused(tmp_path):
  base, key = (
    configs.resolve(configs.default()),
    'model.options.temporal_layers',
  )
  path = write_config(tmp_path, "[{}, {'model.family': 'joint'}]")
  assert len(sweeps.plan(base, path)) == 2
  with pytest.raises(UserError, match=f'family=joint: .*{key}'):
    sweeps.plan(base, path, given=[key])


def test_names_are_what_differs():
  name = sweeps.names
  assert name([{'a.x': 1, 'b.y': 2}, {'a.x': 3, 'b.y': 2}]) == ['x=1', 'x=3']
  both = name([{'a.x': 1, 'b.x': 2}, {'a.x': 3, 'b.x': 4}])
  assert both == ['a.x=1,b.x=2', 'a.x=3,b.x=4']
  assert name([{'a.x': 1}, {}, {'b.y': 2}]) == ['x=1', 'default', 'y=2']
  assert name([{'a.x': (8, 4)}]) == ['x=8x4'] and name([{}]) == ['default']


def test_names_are_safe_and_unique():
  paths = ['/a/b c', '/a/b:c', 'CaSe', 'case', '../x', 'x' * 300, 0.12345671]
  runs = [{'init_from': path} for path in [*paths, 0.12345672]]
  found = sweeps.names(runs)
  assert found == sweeps.names(runs)
  assert len({name.lower() for name in found}) == len(runs)
  for name in found:
    assert len(name) <= 120 and not set(name) & set('/: ')


def test_others_go_on_after_a_failure_and_finished_ones_are_left(
  tmp_path, program, capfd, monkeypatch
):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
  runs, folder = plan(tmp_path, RATES), tmp_path / 'sweep'
  tell(folder, RUNS[1], 'fail')
  assert sweeps.run_all(runs, folder, 2, program) == 1
  devices = [(folder / name / 'devices').read_text() for name in RUNS]
  assert set(devices) == {'4,6', '5,7'}
  log = folder / RUNS[1] / 'log.txt'
  assert capfd.readouterr().out.splitlines()[-1] == f'failed: {log}'
  assert 'as the stub was told' in log.read_text()
  tell(folder, RUNS[1], 'end')
  assert sweeps.run_all(runs, folder, program=program) == 0
  assert starts(folder) == [1, 2, 1]
  assert capfd.readouterr().out.count('already finished') == 2
  assert (folder / RUNS[2] / 'starts').read_text() == '0.3\n'


def test_more_epochs_continue_finished_runs(tmp_path, program):
  runs, folder = plan(tmp_path, RATES), tmp_path / 'sweep'
  for run in runs:
    (folder / run.name).mkdir(parents=True)
    (folder / run.name / 'config.json').write_text(configs.to_json(run.config))
  assert sweeps.run_all(runs, folder, program=program) == 0
  train = dataclasses.replace(runs[1].config.train, epochs=99.0)
  config = dataclasses.replace(runs[1].config, train=train)
  runs[1] = dataclasses.replace(runs[1], config=config)
  assert sweeps.run_all(runs, folder, program=program) == 0
  assert starts(folder) == [1, 2, 1]


def test_an_impossible_run_is_refused_before_anything_starts(tmp_path):
  folder = tmp_path / 'sweep'
  runs = plan(tmp_path, "[{'train.seed': 1}, {'init_from': '/absent'}]")
  with pytest.raises(UserError, match='init_from=absent'):
    sweeps.run_all(runs, folder)
  assert not folder.exists()
  (folder / RUNS[2]).mkdir(parents=True)
  other = configs.to_json(plan(tmp_path, "[{'train.seed': 4}]")[0].config)
  (folder / RUNS[2] / 'config.json').write_text(other)
  with pytest.raises(UserError, match='train.seed'):
    sweeps.run_all(plan(tmp_path, RATES), folder)
  assert not (folder / RUNS[0]).exists()


def test_an_error_releases_the_lock_and_the_signals(tmp_path):
  runs, folder = plan(tmp_path, RATES), tmp_path / 'sweep'
  handlers = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
  for _ in range(2):
    with pytest.raises(FileNotFoundError):
      sweeps.run_all(runs, folder, program=['/absent'])
    now = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
    assert now == handlers


def test_a_signal_ends_the_runs_and_the_same_command_goes_on(tmp_path, program):
  runs, folder = plan(tmp_path, RATES), tmp_path / 'sweep'
  for name in RUNS:
    tell(folder, name, 'wait')
  code = (
    'import pathlib, sys\n'
    'from vivit_jax import config, sweeps\n'
    'base = config.resolve(config.default())\n'
    f'runs = sweeps.plan(base, {str(tmp_path / "mine.py")!r})\n'
    f'folder = pathlib.Path({str(folder)!r})\n'
    f'sys.exit(sweeps.run_all(runs, folder, 2, {program!r}))\n'
  )
  process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT)
  end = time.monotonic() + 60
  while not all((folder / name / 'ready').exists() for name in RUNS[:2]):
    assert time.monotonic() < end and process.poll() is None
    time.sleep(0.02)
  others = plan(tmp_path, RATES.replace('}', ", 'train.seed': 5}"))
  waiting = folder / RUNS[2] / 'experiment.py'
  before = waiting.read_text()
  with pytest.raises(UserError, match=str(folder)):
    sweeps.run_all(others, folder, program=program)
  assert waiting.read_text() == before
  process.send_signal(signal.SIGTERM)
  assert process.wait(30) == 143
  for name in RUNS[:2]:
    assert (folder / name / 'signal').read_text() == '15'
  for name in RUNS:
    tell(folder, name, 'end')
  assert sweeps.run_all(runs, folder, 2, program) == 0
  assert starts(folder) == [2, 2, 1]


def test_a_run_whose_sweep_was_killed_ends(tmp_path):
  ended = subprocess.Popen(['true'])
  ended.wait()
  code = 'from vivit_jax import commands as c; c.obey_sweep(); print("goes on")'
  for pid, expected in ((ended.pid, 143), (os.getpid(), 0)):
    environment = os.environ | {'VIVIT_SWEEP': str(pid)}
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, env=environment)
    assert done.returncode == expected


def test_a_table_has_the_best_first(tmp_path):
  runs = plan(tmp_path, RATES)
  for name, values in zip(RUNS, ([0.5, 0.4], [0.3, 0.45])):
    (tmp_path / name).mkdir()
    lines = [
      json.dumps({'step': step, 'validation/top1': x, 'validation/loss': x})
      for step, x in enumerate(values, 1)
    ]
    text = '\n'.join([*lines, '{"step": 3, "vali'])  # of a killed run
    (tmp_path / name / 'metrics.jsonl').write_text(text)

  def rows(metric):
    lines = sweeps.table(runs, tmp_path, metric).splitlines()[1:]
    return [line.split() for line in lines]

  assert rows('validation/top1') == [
    ['0.5000', '1', RUNS[0]],
    ['0.4500', '2', RUNS[1]],
    ['-', '-', RUNS[2]],
  ]
  losses = [row[0] for row in rows('validation/loss')]
  assert losses == ['0.3000', '0.4000', '-']
  with pytest.raises(UserError, match='validation/loss, validation/top1'):
    sweeps.table(runs, tmp_path, 'top1')


@shellcheck.needed
def test_the_slurm_array_has_every_run(tmp_path):
  runs = plan(tmp_path, "[{'train.seed': 1, 'data.crop': (32, 32)}, {}]")
  folder, script = tmp_path / "a sweep's", tmp_path / 'array.sh'
  sweeps.write_slurm(runs, folder, str(script))
  assert not shellcheck.faults(script)
  assert '#SBATCH --array=0-1\n' in script.read_text()
  for number, run in enumerate(runs):
    task = {'SLURM_ARRAY_TASK_ID': str(number), 'DRY_RUN': '1'}
    out = subprocess.check_output(
      ['bash', script], env=os.environ | task, text=True
    )
    workdir = folder / run.name
    flags = [f'--config={workdir}/experiment.py', f'--workdir={workdir}']
    assert shlex.split(out)[-3:] == ['train.py', *flags]
    assert (workdir / 'experiment.py').exists()
    (workdir / 'finished').touch()
    assert not subprocess.check_output(['bash', script], env=os.environ | task)


def test_the_command_plans_shows_and_refuses(tmp_path):
  def sweep(*flags):
    command = [sys.executable, ROOT / 'sweep.py', *flags]
    return subprocess.run(
      command, env=simulated.environment(), capture_output=True, text=True
    )

  flags = (f'--config={write_config(tmp_path, RATES)}', '--workdir=absent')
  shown = sweep(*flags, '--show').stdout.splitlines()
  assert shown[:3] == ['3 runs', RUNS[0], '  optim.learning_rate = 0.1']
  given = sweep(*flags, '--config.optim.learning_rate=1.0')
  assert given.returncode == 2
  assert given.stderr.startswith('error: optim.learning_rate ')

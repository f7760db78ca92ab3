"""sweep.py, the program: what it shows, refuses and runs."""

import json
import pathlib
import subprocess
import sys

import pytest
import simulated

ROOT = pathlib.Path(__file__).parents[1]


CONFIG = """
from configs import moving_shapes_ti8x2_fe
from vivit_jax import sweeps

def get_config():
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.options.spatial_layers = 1
  config.model.options.temporal_layers = 1
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
    env=simulated.environment(),
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

"""Errors of flags and config files, and --help, of all commands."""

import pathlib
import re
import subprocess
import sys

import pytest

from vivit_jax import config_file
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
DEMO = '--config=configs/moving_shapes_ti8x2_fe.py'


def run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
  )


@pytest.mark.parametrize(
  'flags, words',
  [
    ([DEMO, '--config.train.batch_sise=4'], 'train.batch_size'),
    ([DEMO, '--config.train.train_split=x'], 'data.train_split'),
    ([DEMO, '--config.model.heads.verb=8'], 'model.heads'),
    ([DEMO, '--config.data.frames=abc'], 'abc'),
    ([DEMO, '--confg.train.epochs=4'], 'config.train.epochs'),
    ([DEMO, '--workdir='], '--workdir='),
    ([DEMO], '--workdir'),
    (['--workdir=x', '--config.train.epochs=3'], '--config'),
    (['--config=configs/absent.py', '--workdir=x'], 'configs/absent.py'),
    ([DEMO, '--workdir=x', '--config.data.frames=7'], 'data.frames'),
    ([DEMO, '--workdir=x', '--config.train.batch_size=None'], 'batch_size'),
    ([DEMO, '--workdir=x', '--config.data.crop=None'], 'data.crop is None'),
    ([DEMO, '--workdir=x', '--config.model.heads=None'], "{'verb': 97}"),
    ([DEMO, '--workdir=x', '--config.train=none'], 'config.train.KEY'),
    # Keys that take None do; the error is another key's.
    (
      [
        DEMO,
        '--workdir=x',
        '--config.optim.clip_norm=None',
        '--config.train.validate_every=none',
        '--config.init_from=None',
        '--config.init_grid=none',
        '--config.train.class_weights=none',
        '--config.data.frames=7',
      ],
      'data.frames',
    ),
    ([DEMO, '--workdir=x', 'word'], 'word'),
  ],
)
def test_a_mistake_is_one_sentence(flags, words):
  done = run('train.py', *flags)
  assert done.returncode == 2, done.stderr
  assert 'Traceback' not in done.stderr
  lines = [line for line in done.stderr.splitlines() if line.strip()]
  assert len(lines) == 1, done.stderr
  assert re.search(words, lines[0]), lines[0]


BEGIN = """from vivit_jax import config as configs
def get_config():
  config = configs.default()
  """


@pytest.mark.parametrize(
  'code, words',
  [
    (
      BEGIN + 'config.train.batch_sise = 3',
      "mine.py, line 4: .*'batch_sise'.*'train.batch_size'",
    ),
    (
      BEGIN + 'config.train.batch_size = "x"',
      "mine.py, line 4: .*'batch_size' .*int",
    ),
    ('def get_config(:', 'mine.py, line 1: '),
    ('import no_such', 'mine.py, line 1: ModuleNotFoundError.*no_such'),
    ('x = 3', 'mine.py: .*get_config'),
    ('def get_config():\n  return 3', 'mine.py .*ConfigDict'),
    (
      BEGIN + 'config.trian.epochs = 3.0',
      "mine.py, line 4: .*'trian'.*'train'",
    ),
    (
      BEGIN + 'config.model.heads = ["verb"]',
      "mine.py, line 4: .*'heads'.*mapping",
    ),
  ],
)
def test_a_mistake_in_a_config_file_has_its_place(tmp_path, code, words):
  path = tmp_path / 'mine.py'
  path.write_text(code)
  with pytest.raises(UserError, match=words):
    config_file.run(str(path))


@pytest.mark.parametrize(
  'code, words',
  [
    (BEGIN + 'config.train.batch_sise = 3', "line 4: .*'train.batch_size'"),
    ('x = 3', 'mine.py: .*get_config'),
    ('def get_config():\n  return 3', 'mine.py .*ConfigDict'),
  ],
)
def test_flags_read_a_config_file_with_the_same_words(tmp_path, code, words):
  path = tmp_path / 'mine.py'
  path.write_text(code)
  done = run('train.py', f'--config={path}', '--workdir=x')
  assert done.returncode == 2, done.stderr
  assert re.match(f'error: .*{words}', done.stderr), done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('program', ['evaluate.py', 'sweep.py'])
def test_help_explains_itself(program):
  done = run(program, '--help')
  assert done.returncode == 0
  assert f'python {program}' in done.stdout
  assert '--workdir' in done.stdout
  for flag in ('--compilation_cache', '--coordinator'):
    assert (flag + ':' in done.stdout) == (program != 'sweep.py')


MODULES = {  # and one of their flags
  'checkpoints': 'to',
  'export': 'platforms',
  'models.table': 'family',
  'probe': 'workdir',
}


@pytest.mark.parametrize('module', MODULES)
def test_help_of_a_module_has_its_own_flags_alone(module):
  done = run('-m', f'vivit_jax.{module}', '--help')
  assert done.returncode == 0 and not done.stderr
  assert f'python -m vivit_jax.{module}' in done.stdout
  assert f'--{MODULES[module]}:' in done.stdout
  assert '--verbosity' not in done.stdout  # of absl
  assert str(ROOT) not in done.stdout


@pytest.mark.parametrize(
  'command, word',
  [
    (['data.prepare', 'ucf101'], '--videos'),
    (['data.prepare', 'ucf101', '--storage=png'], '--storage=png'),
    (['checkpoints', 'convert', 'a', 'b'], '--to'),
    (['models.table', '--family=conv'], 'conv'),
  ],
)
def test_a_mistake_in_a_modules_flags_is_one_sentence(command, word):
  module, *rest = command
  done = run('-m', f'vivit_jax.{module}', *rest)
  assert done.returncode == 2, done.stderr
  (line,) = done.stderr.strip().splitlines()
  assert line.startswith('error: ') and word in line


LEFT_BEHIND = """
import types
from vivit_jax import commands

commands.quieten_libraries()

@types.coroutine
def array():
  yield

async def read():
  try:
    await array()
  finally:
    raise ValueError('no such array')

class Other:
  def __del__(self):
    raise ValueError('of no coroutine')

left = read()
left.send(None)
del left  # as when the reading of another array has failed
Other()
"""


def test_errors_of_abandoned_coroutines_are_not_printed():
  err = run('-c', LEFT_BEHIND).stderr
  assert 'coroutine' not in err.replace('of no coroutine', '')
  assert 'no such array' not in err
  assert 'of no coroutine' in err

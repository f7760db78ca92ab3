"""What train.py and evaluate.py say to a user's mistake."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DEMO = '--config=configs/moving_shapes_ti8x2_fe.py'


def run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
  )


@pytest.mark.parametrize(
  'flags, words',
  [
    ([DEMO, '--config.train.batch_sise=4'], "'train.batch_sise'.*'batch_size'"),
    ([DEMO, '--config.trian.batch_size=4'], "'trian.*Did you mean 'train'"),
    ([DEMO, '--config.data.frames=abc'], 'abc'),
    ([DEMO, '--confg.train.epochs=4'], 'confg'),
    ([DEMO], '--workdir is missing'),
    (['--workdir=x'], '--config is missing'),
    (['--config=configs/absent.py', '--workdir=x'], 'configs/absent.py'),
    ([DEMO, '--workdir=x', '--config.data.frames=7'], 'data.frames is 7'),
    ([DEMO, '--workdir=x', 'word'], "'word' is no flag"),
  ],
)
def test_a_mistake_is_one_sentence(flags, words):
  done = run('train.py', *flags)
  assert done.returncode == 2, done.stderr
  assert 'Traceback' not in done.stderr
  lines = [line for line in done.stderr.splitlines() if line.strip()]
  assert len(lines) == 1, done.stderr
  assert re.search(words, lines[0]), lines[0]


@pytest.mark.parametrize('program', ['train.py', 'evaluate.py'])
def test_help_explains_itself(program):
  done = run(program, '--help')
  assert done.returncode == 0
  assert f'python {program}' in done.stdout
  assert '--workdir' in done.stdout

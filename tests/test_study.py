"""Studies: their runs can be planned, and their tables hold what runs wrote."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from scipy import stats

from vivit_jax import config as configs
from vivit_jax import studies, study, sweeps
from vivit_jax.errors import UserError
from vivit_jax.evaluation.predictions import Table
from vivit_jax.models import arithmetic
from vivit_jax.training import checks

FOLDER = pathlib.Path(__file__).parents[1] / 'configs' / 'study'
NAMES = sorted({x.stem for x in FOLDER.glob('*.py')} - {'base', 'image'})
ROWS = {'plain': {'train.seed': 0}, 'better': {'optim.momentum': 0.5}}


@pytest.mark.parametrize('name', NAMES)
def test_each_study_can_be_planned(name, tmp_path):
  module = importlib.import_module(f'configs.study.{name}')
  base = configs.resolve(module.get_config())
  runs = sweeps.plan(base, str(FOLDER / f'{name}.py'))
  for run in runs[::3]:
    checks.check_alone(run.config, tmp_path)
  seeds = [run.config.train.seed for run in runs]
  assert seeds == [0, 1, 2] * len(module.ROWS)
  views = getattr(module, 'VIEWS', {})
  rows = {
    (label, count) if label in views else label
    for label in module.ROWS
    for count in views.get(label, (1,))
  }
  assert {label for pair in module.BETTER for label in pair} <= rows


def test_families_have_equal_flops():
  module = importlib.import_module('configs.study.families')
  base = configs.resolve(module.get_config())
  runs = sweeps.plan(base, str(FOLDER / 'families.py'))[::3]
  assert len(runs) == len(module.ROWS)
  products = []
  for run in runs:
    model = configs.with_heads(run.config, {'noun': 8, 'verb': 8}).model
    data = run.config.data
    products.append(
      arithmetic.forward_multiply_adds(model, data.frames, data.crop)
    )
  assert max(products) / min(products) < 1.1


def test_an_unknown_study_is_refused():
  with pytest.raises(UserError, match='models'):
    study._read('model')


def correct(counts, videos=200):
  """Returns bool [seeds, videos], the first `count` videos of each seed."""
  return np.arange(videos) < np.array(counts)[:, None]


@pytest.mark.parametrize(
  ('first', 'second', 'verdict'),
  [
    ((150, 152, 154), (100, 102, 104), 'as in the paper'),
    ((100, 102, 104), (150, 152, 154), 'the other way round'),
    ((150, 152, 154), (149, 152, 154), 'not resolved'),
    # On each video the first is better, but its seeds differ as much.
    ((110, 190, 30), (100, 180, 20), 'not resolved'),
    ((150, 150, 150), (150, 150, 150), 'not resolved'),
  ],
)
def test_pairs_by_hand(first, second, verdict):
  pair = studies.compare(correct(first), correct(second))
  difference = (sum(first) - sum(second)) / 600
  assert pair.difference == pytest.approx(difference)
  low, high = pair.interval
  assert low <= difference <= high
  assert pair.verdict() == verdict


def test_two_scores_of_the_same_runs_are_paired():
  """Gains of 1, 2 and 3 videos, among seeds that differ far more."""
  first, second = correct((111, 152, 193)), correct((110, 150, 190))
  pair = studies.compare(first, second, same_runs=True)
  t = 2 / (1 / np.sqrt(3))  # mean gain over its standard error
  assert pair.p == pytest.approx(2 * stats.t.sf(t, 2))
  assert studies.compare(first, second).p > 0.9
  again = studies.compare(first, correct((110, 151, 192)), same_runs=True)
  assert again.p == 0.0


def test_intervals_by_hand():
  """Student's t for two degrees of freedom, 4.3027, as tables have it."""
  row = studies.Row('x', {'verb': correct((100, 110, 120))})
  mean, half = row.interval('verb')
  assert mean == pytest.approx(0.55)
  assert half == pytest.approx(4.3027 * 0.05 / np.sqrt(3), rel=1e-4)


def tiny():
  config = configs.default('joint')
  config.update_from_flattened_dict(
    {
      'model.options.layers': 1,
      'model.options.width': 16,
      'model.options.attention_heads': 2,
      'model.options.mlp_width': 32,
      'data.frames': 2,
      'data.crop': (16, 16),
      'train.batch_size': 2,
    }
  )
  return config


@pytest.fixture
def finished(tmp_path) -> studies.Study:
  """A study of two rows and two seeds, with 100 test videos.

  Row `plain` has 50 and 60 verbs right, `better` 80 and 90; all nouns are.
  """
  runs = []
  for i, count in enumerate((50, 60, 80, 90)):
    run = sweeps.Run(f'run{i}', {}, configs.resolve(tiny()))
    out = tmp_path / run.name / 'evaluation' / 'test_1'
    out.mkdir(parents=True)
    right = (np.arange(100) < count).astype(np.float32)
    verb = np.stack([right, 1 - right], axis=-1)[:, None]
    noun = np.tile(np.float32([1, 0]), (100, 1, 1))
    Table(
      [f'v{n}' for n in range(100)],
      {'verb': verb, 'noun': noun},
      {'verb': np.zeros(100, np.int32), 'noun': np.zeros(100, np.int32)},
      {'verb': ['a', 'b'], 'noun': ['c', 'd']},
      {},
    ).write(out / 'predictions.npz')
    runs.append(run)
  module = types.SimpleNamespace(
    TITLE='Title', PAPER='It is better.', HEADS=('verb',), ROWS=ROWS,
    BETTER=[('better', 'plain')],
  )  # fmt: skip
  return studies.Study(module, runs, tmp_path)


def test_a_table_by_hand(finished, tmp_path):
  finished.write(tmp_path / 'docs', 'one', 'COMMAND')
  text = (tmp_path / 'docs' / 'study.md').read_text()
  half = stats.t.ppf(0.975, 1) * np.std([0.5, 0.6], ddof=1) / np.sqrt(2)
  cells = [line.strip('| ').split(' | ') for line in text.splitlines()]
  assert ['plain', f'0.550 ± {half:.3f}', '1.000 ± 0.000'] in cells
  assert ['better', f'0.850 ± {half:.3f}', '1.000 ± 0.000'] in cells
  [pair] = [x for x in cells if x[0] == 'better > plain']
  assert pair[1:3] == ['verb', '+0.300']
  assert (tmp_path / 'docs' / 'study_one.svg').read_text().count('better') >= 1


def test_figures_of_each_row(finished, monkeypatch):
  """By turns, medians: of 3 rounds, the middle one."""
  finished._study.FIGURES = True
  monkeypatch.setattr(studies, '_ROUNDS', 3)
  real = studies._Program.seconds
  calls = []

  def seconds(program):
    calls.append(program)
    assert all(x > 0 for x in real(program))
    order = len(calls) - 3  # the first two compile
    return (0.001 * 10 ** (order // 2), 0.01 * 10 ** (order % 2))

  monkeypatch.setattr(studies._Program, 'seconds', seconds)
  plain, better = finished._facts()
  assert plain['forward, ms a clip'] == better['forward, ms a clip'] == '10.00'
  assert (plain['training, clips/s'], better['training, clips/s']) == (
    '100', '10',
  )  # fmt: skip
  assert calls[2::2] == [calls[0]] * 3 and calls[3::2] == [calls[1]] * 3
  # Patches 24592, tokens 48, the block 2224, its norm 32, heads 272.
  assert plain['parameters, M'] == f'{27168 / 1e6:.2f}'


def test_other_sections_stay(finished, tmp_path):
  path = tmp_path / 'study.md'
  path.write_text('# Mine\n\nwords\n')
  for name in ('one', 'two', 'one'):
    finished.write(tmp_path, name, f'COMMAND {name}')
  text = path.read_text()
  assert text.startswith('# Mine\n\nwords\n')
  assert [text.count(f'    COMMAND {x}\n') for x in ('one', 'two')] == [1, 1]


TINY = """
from configs.study import base
import demo

TITLE, PAPER, HEADS, VIDEOS = 'Tiny', 'Words.', ('verb',), 16
ROWS = {
  '0 layers': {'model.options.temporal_layers': 0},
  '1 layers': {'model.options.temporal_layers': 1},
}
BETTER = [('1 layers', '0 layers')]


def get_config():
  config = base.get_config()
  config.update_from_flattened_dict(demo.SMALL)
  config.train.epochs = 2.0
  return config


def sweep():
  return [x | {'train.seed': y} for x in ROWS.values() for y in (0, 1)]
"""
DRIVER = """
import pathlib, runpy, sys, types

sys.path += [{root!r}, {tests!r}]
from vivit_jax import commands, study


def main():
  study._FOLDER = pathlib.Path({folder!r})
  study._SPLITS = {{'validation': 8, 'test': 16}}
  module = types.ModuleType('')
  vars(module).update(runpy.run_path({folder!r} + '/tiny.py'))
  module.__name__ = 'studies.tiny'
  study._read = lambda name: module
  commands.define_compilation_cache()
  sys.exit(commands.run(study.main, study.__doc__))


if __name__ == '__main__':
  main()
"""


@pytest.mark.slow
def test_a_killed_study_ends_with_the_same_table(tmp_path):
  (tmp_path / 'tiny.py').write_text(TINY)
  root = FOLDER.parents[1]
  driver = tmp_path / 'driver.py'
  driver.write_text(
    DRIVER.format(
      root=str(root), tests=str(root / 'tests'), folder=str(tmp_path)
    )
  )

  def start(name: str) -> subprocess.Popen:
    flags = [f'--{key}={tmp_path / name}' for key in ('workdir', 'out')]
    return subprocess.Popen(
      [sys.executable, str(driver), 'tiny', *flags],
      cwd=root,
      start_new_session=True,
    )

  def table(name: str) -> list[str]:
    text = (tmp_path / name / 'study.md').read_text()
    return [line for line in text.splitlines() if line.startswith('|')]

  assert start('whole').wait() == 0
  killed = start('killed')
  second = tmp_path / 'killed' / 'tiny'
  while len(list(second.glob('*/finished'))) < 1:
    assert killed.poll() is None
    time.sleep(0.1)
  time.sleep(3)  # in the second run
  os.killpg(killed.pid, signal.SIGKILL)
  killed.wait()
  time.sleep(5)  # its run ends with it, or soon after
  assert start('killed').wait() == 0
  assert table('killed') == table('whole') != []

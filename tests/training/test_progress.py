"""One line on a terminal, whatever its width; the same metrics in the files."""

import json
import os
import sys
import types

import pytest

from vivit_jax.errors import UserError
from vivit_jax.training.progress import Progress

METRICS = {'loss': 0.5, 'noun/top1': 0.75, 'verb/top1': 0.25, 'grad_norm': 3.0}


@pytest.fixture
def terminal(monkeypatch):
  def of_width(columns):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr('shutil.get_terminal_size', lambda: size)

  return of_width


@pytest.mark.parametrize(
  'columns, words',
  [
    (100, 'noun/top1 0.750  verb/top1 0.250'),
    (80, 'loss 0.500  64 clips/s'),
    (20, 'step 10/4500  loss '),
  ],
)
def test_the_line_fits_the_terminal(tmp_path, terminal, capsys, columns, words):
  terminal(columns)
  progress = Progress(tmp_path, steps=4500, batch_size=32, first_step=0)
  progress.report(10, METRICS, 0.5)
  line = capsys.readouterr().out.removeprefix('\r\x1b[2K')
  assert words in line
  assert len(line) < columns
  progress.close()


def test_the_speed_is_that_of_steps_alone(tmp_path, capsys):
  """Not of what passes between reports, such as a validation."""
  seen = []

  def utilisation(rate):
    seen.append(rate)

  keys = dict(steps=40, batch_size=8, first_step=0, utilisation=utilisation)
  progress = Progress(tmp_path, **keys)
  progress.report(10, METRICS, 0.5)
  progress.report_validation(13, {'top1': 0.5})
  progress.report(20, METRICS, 0.25)
  progress.close()
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rates = [json.loads(x).get('train/clips_per_second') for x in lines]
  assert rates == [16.0, None, 32.0] and seen == [16.0, 32.0]
  assert '16 clips/s' in capsys.readouterr().out


def test_utilisation_is_in_the_line(tmp_path, capsys):
  keys = dict(steps=40, batch_size=8, first_step=0)
  progress = Progress(tmp_path, utilisation=lambda rate: 0.4321, **keys)
  progress.report(10, METRICS, 0.5)
  progress.close()
  assert '16 clips/s  43.2% MFU  ' in capsys.readouterr().out


def test_lines_after_the_resumed_step_are_dropped(tmp_path):
  lines = [
    '{"step": 1, "a": 1}',
    '[3]',
    '7',
    '{"step": 4}',
    '{"step": 9}',
    '{"s',
  ]
  (tmp_path / 'metrics.jsonl').write_text('\n'.join(lines))
  progress = Progress(tmp_path, steps=20, batch_size=2, first_step=4)
  progress.write(5, {'b': 2})
  progress.close()
  found = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in found] == [1, 4, 5]


class FakeRun:
  def __init__(self, **settings):
    self.settings, self.logged, self.finished = settings, [], False

  def log(self, values, step):
    self.logged.append((step, values))

  def finish(self):
    self.finished = True


def test_weights_and_biases_get_the_same_metrics(tmp_path, monkeypatch):
  runs = []
  fake = types.ModuleType('wandb')
  fake.init = lambda **settings: runs.append(FakeRun(**settings)) or runs[-1]
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  keys = {'steps': 20, 'batch_size': 2, 'first_step': 0, 'wandb': 'videos'}
  config = {'train.seed': 3, 'model.size': 'B'}
  progress = Progress(
    tmp_path, utilisation=lambda rate: 0.25, config=config, **keys
  )
  progress.report(5, METRICS, 0.5)
  progress.close()
  (run,) = runs
  assert run.settings['project'] == 'videos' and run.finished
  assert run.settings['config'] == config
  ((step, logged),) = run.logged
  line = json.loads((tmp_path / 'metrics.jsonl').read_text())
  assert line == {'step': step} | logged
  assert logged['train/mfu'] == 0.25 and logged['train/loss'] == 0.5
  again = Progress(tmp_path, **keys)
  again.close()
  assert runs[1].settings['id'] == run.settings['id']  # the same run goes on
  # Paths that are alike at their ends, and in all but signs.
  for end in (f'{"x" * 70}/run', 'a-b', 'a_b', 'a b', 'a:b'):
    folder = tmp_path / end
    folder.mkdir(parents=True)
    Progress(folder, **keys).close()
  assert len({run.settings['id'] for run in runs}) == len(runs) - 1


def test_a_full_disk_is_a_user_error(tmp_path):
  progress = Progress(tmp_path, steps=20, batch_size=2, first_step=0)
  (tmp_path / 'metrics.jsonl').symlink_to('/dev/full')
  with pytest.raises(UserError, match='step 3 .*No space left'):
    progress.write(3, {'b': 2})
  progress.close()

"""One line on a terminal, whatever its width; the same metrics in the files."""

import json
import os
import sys

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
    (80, 'loss 0.500  top1 0.500'),
    (20, 'step 10/4500  loss '),
  ],
)
def test_the_line_fits_the_terminal(tmp_path, terminal, capsys, columns, words):
  terminal(columns)
  progress = Progress(tmp_path, steps=4500, batch_size=32, first_step=0)
  progress.report(10, METRICS)
  line = capsys.readouterr().out.removeprefix('\r\x1b[2K')
  assert words in line
  assert len(line) < columns
  progress.close()


def test_lines_of_steps_that_are_made_again_are_dropped(tmp_path):
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


def test_a_full_disk_is_one_sentence(tmp_path):
  progress = Progress(tmp_path, steps=20, batch_size=2, first_step=0)
  (tmp_path / 'metrics.jsonl').symlink_to('/dev/full')
  with pytest.raises(UserError, match='metrics of step 3 .*: No space left on'):
    progress.write(3, {'b': 2})
  progress.close()

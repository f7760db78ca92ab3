"""The command that compares two evaluations."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from vivit_jax.evaluation import compare, comparison
from vivit_jax.evaluation.comparison import ClassRow, Comparison, Row
from vivit_jax.evaluation.predictions import Table

FOUND = Comparison(
  examples=8,
  notes=['the protocols of A and B differ: temporal_views 4 and 1'],
  rows=[
    Row('verb/top1', 0.75, 0.875, (-0.25, 0.5), 1, 2, 1.0),
    Row('verb/mean_class_accuracy', 0.5, 0.75, (0.125, 0.375)),
  ],
  classes={
    'verb': [
      ClassRow('close', 4, 2, 4),
      ClassRow('x' * 60, 4, 3, 4),
      ClassRow('same', 4, 4, 4),
      ClassRow('open', 4, 4, 3),
    ]
  },
)


def test_what_is_printed():
  lines = compare.render(FOUND, ['runs/a', 'runs/b'], 1)
  words = [line.split() for line in lines]
  assert ['A', 'runs/a'] in words and ['B', 'runs/b'] in words
  assert any(FOUND.notes[0] in line for line in lines)
  assert words[6:8] == [
    ['verb/top1', '0.7500', '0.8750', '+0.1250', '-0.2500', 'to', '+0.5000']
    + ['1', '2', '1', '-'],
    ['verb/mean_class_accuracy', '0.5000', '0.7500', '+0.2500', '+0.1250']
    + ['to', '+0.3750', 'B'],
  ]
  assert words[10] == ['close', '2', '4', '+2', 'of', '4']  # gains most
  assert words[13] == ['open', '4', '3', '-1', 'of', '4']  # the only loss
  assert len(words) == 14
  assert all(len(line) <= 110 for line in compare.render(FOUND, ['a', 'b'], 9))


def run(*arguments) -> subprocess.CompletedProcess:
  command = [sys.executable, '-m', 'vivit_jax.evaluation.compare', *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> list[str]:
  rng = np.random.default_rng(0)
  labels = np.arange(30) % 3
  one = Table(
    ids=[f'v{number}' for number in range(30)],
    logits={'label': rng.normal(size=(30, 2, 3)).astype(np.float32)},
    labels={'label': labels},
    class_names={'label': ['a', 'b', '<c>']},
    protocol={'average': 'logits', 'temporal_views': 2, 'spatial_crops': 1},
  )
  right = {'label': 9 * np.eye(3)[labels][:, None].astype(np.float32)}
  folder = tmp_path_factory.mktemp('compare')
  for name, table in (
    ('a', one),
    ('b', dataclasses.replace(one, logits=right)),
  ):
    (folder / name).mkdir()
    table.write(folder / name / 'predictions.npz')
  return [str(folder / name) for name in 'ab']


def test_the_command(folders, tmp_path):
  done = run(*folders, f'--out={tmp_path / "new"}')
  assert done.returncode == 0, done.stderr
  tables = [Table.read(folder) for folder in folders]
  row = comparison.compare(*tables).rows[0]
  line = next(x for x in done.stdout.splitlines() if x.startswith('label/top1'))
  assert line.split()[1:4] == [
    f'{row.first:.4f}',
    '1.0000',
    f'{1 - row.first:+.4f}',
  ]
  assert line.endswith('B')
  page = (tmp_path / 'new' / 'comparison.html').read_text()
  assert '&lt;c&gt;' in page and '<c>' not in page


@pytest.mark.parametrize(
  ('arguments', 'named'),
  [
    (['{a}'], 'not 1'),
    (['{a}', 'nowhere'], 'nowhere'),
    (['{a}', '{b}', '--head=lable'], "'lable'"),
    (['{a}', '{b}', '--average=mean'], 'average'),
    (['{a}', '{b}', '--classes=-1'], '--classes'),
    (['{a}', '{b}', '--out={a}/predictions.npz/x.html'], 'x.html'),
  ],
)
def test_a_mistake_gets_one_sentence(folders, arguments, named):
  a, b = folders
  done = run(*(each.format(a=a, b=b) for each in arguments))
  assert done.returncode == 2
  assert named in done.stderr and 'Traceback' not in done.stderr
  assert done.stderr.count('\n') == 1

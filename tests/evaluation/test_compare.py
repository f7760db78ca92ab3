"""The command that compares two evaluations."""

import subprocess
import sys

import numpy as np

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
  lines = compare.render(FOUND, ['runs/a', 'runs/b'])
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
  assert words[14] == ['open', '4', '3', '-1', 'of', '4']  # the only loss
  assert len(words) == 15
  assert all(len(line) <= 110 for line in lines)


def run(*arguments) -> subprocess.CompletedProcess:
  command = [sys.executable, '-m', 'vivit_jax.evaluation.compare', *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command(tmp_path):
  rng = np.random.default_rng(0)
  labels = np.arange(30) % 3
  protocol = {
    'average': 'logits', 'temporal_views': 2, 'spatial_crops': 1,
    'checkpoint': 'step 2',
  }  # fmt: skip
  right = 9 * np.eye(3)[labels][:, None].astype(np.float32)
  tables = [
    Table(
      ids=[f'v{number}' for number in range(30)],
      logits={'label': logits},
      labels={'label': labels},
      class_names={'label': ['a', 'b', '<c>']},
      protocol=protocol,
    )
    for logits in (rng.normal(size=(30, 2, 3)), right)
  ]
  for name, table in zip('ab', tables):
    (tmp_path / name).mkdir()
    table.write(tmp_path / name / 'predictions.npz')
  a, b = tmp_path / 'a', tmp_path / 'b'
  done = run(a, b, f'--out={tmp_path / "new"}')
  assert done.returncode == 0, done.stderr
  row = comparison.compare(*tables).rows[0]
  line = next(x for x in done.stdout.splitlines() if x.startswith('label/top1'))
  assert line.split()[1:4] == [
    *(f'{row.first:.4f}', '1.0000', f'{1 - row.first:+.4f}'),
  ]
  assert line.endswith('B') and f'{a}, step 2, 2 x 1 views' in done.stdout
  page = (tmp_path / 'new' / 'comparison.html').read_text()
  assert '&lt;c&gt;' in page and '<c>' not in page
  done = run(a, b, f'--out={a}/predictions.npz/x.html')
  assert done.returncode == 2
  assert 'x.html' in done.stderr and done.stderr.count('\n') == 1

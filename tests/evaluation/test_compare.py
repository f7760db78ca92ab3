"""The command that compares two evaluations."""

import subprocess
import sys

import numpy as np

from vivit_jax.evaluation import comparison
from vivit_jax.evaluation.predictions import Table


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
  found = comparison.compare(*tables)
  for row in found.classes['label']:
    numbers = f'{row.first:>6}{row.second:>6}{row.difference:>+6}'
    assert f'  {row.name:3}{numbers}  of 10' in done.stdout
  row = found.rows[0]
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

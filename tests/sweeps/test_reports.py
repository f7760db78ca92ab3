"""Tables of a sweep, and its Slurm script."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import shellcheck
from planned import RATES, planned

from vivit_jax import locks
from vivit_jax.errors import UserError
from vivit_jax.sweeps import folders, reports


def test_a_table_has_the_best_first(tmp_path):
  runs = planned(tmp_path, RATES)
  for run, lines in zip(
    runs, ([(1, 0.5), (2, 0.4)], [(1, 0.3), (2, 0.45)], [])
  ):
    folder = tmp_path / run.name
    folder.mkdir()
    (folder / 'metrics.jsonl').write_text(
      ''.join(
        json.dumps(
          {'step': step, 'train/loss': v, 'validation/top1': v}
          | {'validation/gloss/top1': v, 'validation/loss': v}
        )
        + '\n'
        for step, v in lines
      )
      + '{"step": 3, "vali'  # cut off by a hard stop
    )
  (tmp_path / runs[0].name / 'finished').touch()
  (tmp_path / runs[1].name / 'config.json').touch()

  def rows(*arguments):
    lines = reports.table(runs, tmp_path, *arguments).splitlines()
    return [line.split() for line in lines[1:]]

  first, second, third = (run.name for run in runs)
  assert rows('validation/top1') == [
    ['0.5000', '1', 'finished', first],
    ['0.4500', '2', 'stopped', second],
    ['-', '-', 'not', 'begun', third],
  ]
  assert rows('validation/top1', 'last')[0] == [
    '0.4500',
    '2',
    'stopped',
    second,
  ]
  assert [row[0] for row in rows('train/loss')] == ['0.3000', '0.4000', '-']
  assert [row[0] for row in rows('validation/loss')] == [
    '0.3000',
    '0.4000',
    '-',
  ]
  gloss = [row[0] for row in rows('validation/gloss/top1')]
  assert gloss == ['0.5000', '0.4500', '-']  # no loss
  with pytest.raises(UserError, match="'top1'; there are train/loss, valid"):
    reports.table(runs, tmp_path, 'top1')
  with pytest.raises(UserError, match="has the metric 'top1' yet"):
    reports.table(runs, tmp_path / 'absent', 'top1')


def test_what_has_become_of_a_run(tmp_path):
  assert folders.state(tmp_path / 'absent') == 'not begun'
  (tmp_path / 'experiment.py').touch()
  assert folders.state(tmp_path) == 'not begun'
  (tmp_path / 'config.json').touch()
  assert folders.state(tmp_path) == 'stopped'
  (tmp_path / 'failed').touch()
  assert folders.state(tmp_path) == 'failed'
  with locks.locked(tmp_path, 'in use'):
    assert folders.state(tmp_path) == 'running'
  (tmp_path / 'finished').touch()
  assert folders.state(tmp_path) == 'finished'


@shellcheck.needed
def test_the_slurm_array_passes_shellcheck(tmp_path):
  runs = planned(tmp_path, "[{'train.seed': 1, 'data.crop': (32, 32)}, {}]")
  assert any(',' in run.name for run in runs)
  script = tmp_path / 'array.sh'
  reports.write_slurm(runs, tmp_path / "a sweep's", script)
  assert not shellcheck.faults(script)


def test_the_slurm_array_has_every_run(tmp_path):
  runs = planned(tmp_path, RATES)
  folder = tmp_path / 'a sweep'
  script = tmp_path / 'array.sh'
  reports.write_slurm(runs, folder, script)
  assert '#SBATCH --array=0-2\n' in script.read_text()
  assert f'#SBATCH --output="{folder}/slurm-%A-%a.txt"\n' in script.read_text()
  subprocess.run(['bash', '-n', script], check=True)
  for number, run in enumerate(runs):
    done = subprocess.run(
      ['bash', script],
      env=os.environ | {'SLURM_ARRAY_TASK_ID': str(number), 'DRY_RUN': '1'},
      capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = shlex.split(done.stdout.splitlines()[-1])
    assert words[0] == 'srun' and sys.executable in words
    assert f'--workdir={folder / run.name}' in words
    config = f'--config={folder / run.name / "experiment.py"}'
    assert config in words and pathlib.Path(config[9:]).exists()
  (folder / runs[0].name / 'finished').touch()
  done = subprocess.run(['bash', script], capture_output=True, text=True)
  assert done.stdout == f'{runs[0].name} was finished before\n'

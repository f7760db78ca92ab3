"""evaluate.py as a program: any checkpoints, interrupted, watching a run."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vivit_jax.checkpoints import metadata
from vivit_jax.data import datasets
from vivit_jax.evaluation.predictions import Table

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / 'configs' / 'moving_shapes_ti8x2_fe.py'
SMALL = [
  f'--config={CONFIG}',
  '--config.model.options.spatial_layers=1',
  '--config.model.options.temporal_layers=1',
  '--config.data.workers=0',
  '--config.train.batch_size=8',
  '--config.train.epochs=1.0',  # 6 steps
  '--config.train.validate_every=0',
  '--config.train.checkpoint_every=2',
]
VIEWS = ['--views=2x3', '--crop=48']


def start(script, *flags):
  return subprocess.Popen(
    [sys.executable, ROOT / script, *map(str, flags)],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(*arguments, code=0):
  """Returns what a command prints, and its errors."""
  process = start(*arguments)
  out, err = process.communicate(timeout=300)
  assert process.returncode == code, out + err
  assert 'Traceback' not in err
  return out, err


def metrics(folder):
  return json.loads((folder / 'metrics.json').read_text())


@pytest.fixture(scope='module')
def trained(prepared, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'whole'
  flags = [*SMALL, f'--config.data.data_dir={prepared}']
  run('train.py', f'--workdir={workdir}', *flags)
  return workdir


@pytest.mark.slow
def test_several_checkpoints_and_a_damaged_one(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  before = sorted(workdir.rglob('*'))
  out, _ = run('evaluate.py', f'--workdir={workdir}', '--checkpoint=all')
  results = workdir / 'evaluation' / 'test'
  with open(results / 'scores.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['results'] for row in rows] == ['step_2', 'step_4', 'step_6']
  assert len({row['digest'] for row in rows}) == 3
  for row in rows:
    found = metrics(results / row['results'])
    assert float(row['verb/top1']) == found['scores']['verb/top1']
    assert f'{row["results"]}  ' in out
  after = [p for p in sorted(workdir.rglob('*')) if results not in p.parents]
  assert [p for p in after if 'evaluation' not in p.parts] == before
  # Alone, it is the same.
  run('evaluate.py', f'--workdir={workdir}', '--checkpoint=4')
  one, other = Table.read(results), Table.read(results / 'step_4')
  assert one.ids == other.ids
  for head, logits in one.logits.items():
    np.testing.assert_array_equal(logits, other.logits[head])
  assert metrics(results)['scores'] == metrics(results / 'step_4')['scores']
  (workdir / 'checkpoints' / '4' / 'description' / 'metadata').write_text('{')
  flags = ['--checkpoint=4,6', '--checkpoint=5', f'--out={tmp_path / "out"}']
  _, err = run('evaluate.py', f'--workdir={workdir}', *flags, code=2)
  assert 'error: step 4: ' in err and 'error: step 5: ' in err
  assert '2 of 3' in err
  names = sorted(x.name for x in (tmp_path / 'out').iterdir())
  assert names == ['scores.csv', 'step_6']


@pytest.mark.slow
def test_killed_and_started_again_it_goes_on(trained, prepared, tmp_path):
  """The same predictions as never killed, without decoding anything twice.

  A finished video's record is damaged when it goes on.
  """
  data = tmp_path / 'data'
  shutil.copytree(prepared, data, ignore=shutil.ignore_patterns('raw'))
  flags = [f'--workdir={trained}', *VIEWS, '--batch_size=2']
  run('evaluate.py', *flags, f'--out={tmp_path / "whole"}')
  out = tmp_path / 'killed'
  flags += [f'--data_dir={data}', f'--out={out}']
  process = start('evaluate.py', *flags)
  deadline = time.monotonic() + 120
  while len(list(out.glob('.unfinished-*/*.npz'))) < 3:
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.005)
  process.kill()
  process.communicate()
  done = np.concatenate(
    [np.load(path)['index'] for path in out.glob('.unfinished-*/*.npz')]
  )
  assert 0 in done and not (out / 'metrics.json').exists()
  folder = datasets.find('moving_shapes', data)
  shards = sorted(folder.glob('*-test.array_record-*'))
  size = shards[0].stat().st_size
  with open(shards[0], 'r+b') as file:  # where the first video is
    file.seek(2000)
    file.write(b'\0' * min(4000, size // 4))
  split = datasets.open_split('moving_shapes', data, 'test')
  with pytest.raises(Exception, match='damaged'):
    split.read_frames(0, range(8))
  printed, _ = run('evaluate.py', *flags)
  assert f'{len(done)} of 22 videos are done' in printed
  assert split.ids[0] not in metrics(out)['protocol']['unreadable']
  kept, whole = Table.read(out), Table.read(tmp_path / 'whole')
  for head in kept.logits:
    for i, name in enumerate(kept.ids):
      np.testing.assert_array_equal(
        kept.logits[head][i], whole.logits[head][whole.ids.index(name)]
      )
  names = sorted(path.name for path in out.iterdir())
  assert names == sorted(path.name for path in (tmp_path / 'whole').iterdir())


@pytest.mark.slow
def test_a_run_is_watched(prepared, tmp_path):
  """From before its first checkpoint to its end, and again from the first."""
  workdir, out = tmp_path / 'run', tmp_path / 'out'
  flags = [f'--workdir={workdir}', '--watch', '--poll=0.2', f'--out={out}']
  watching = start('evaluate.py', *flags)
  waiting = watching.stdout.readline()
  assert waiting == f'{workdir}: waiting for the first checkpoint\n'
  assert not workdir.exists()
  run(
    'train.py', f'--workdir={workdir}', *SMALL,
    f'--config.data.data_dir={prepared}',
  )  # fmt: skip
  told, err = watching.communicate(timeout=300)
  assert watching.returncode == 0, told + err
  assert 'the training has ended at step 6' in told
  assert metadata.steps(workdir) == [2, 4, 6]
  for step in (2, 4, 6):
    assert metrics(out / f'step_{step}')['protocol']['step'] == step
  assert len((out / 'scores.csv').read_text().splitlines()) == 4
  shutil.rmtree(out / 'step_4')
  shutil.rmtree(workdir / 'checkpoints' / '2')
  before = (out / 'step_6' / 'metrics.json').stat().st_mtime_ns
  told, _ = run('evaluate.py', *flags)
  assert 'step 6 is scored already' in told and 'videos, step 4;' in told
  assert (out / 'step_6' / 'metrics.json').stat().st_mtime_ns == before
  # Other views are another question.
  told, _ = run('evaluate.py', *flags, '--views=1x1')
  assert 'videos, step 6;' in told and 'already' not in told


@pytest.mark.slow
def test_a_signal_ends_the_watch(trained, tmp_path):
  """Of a run that has not ended: its last checkpoint is gone."""
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  shutil.rmtree(workdir / 'checkpoints' / '6')
  process = start('evaluate.py', f'--workdir={workdir}', '--watch', '--poll=9')
  for line in process.stdout:
    if 'waiting for the next checkpoint' in line:
      break
  process.send_signal(signal.SIGTERM)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 143 and 'Traceback' not in err
  results = workdir / 'evaluation' / 'test'
  assert (results / 'step_4' / 'metrics.json').exists()


@pytest.mark.slow
def test_flags_that_do_not_fit_get_one_sentence(trained):
  for flags, words in (
    (['--watch', '--checkpoint=2'], ['--watch', '--checkpoint']),
    (['--crop=44'], ['44', 'model.options.tubelet']),
  ):
    _, err = run('evaluate.py', f'--workdir={trained}', *flags, code=2)
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith('error: '), err
    assert all(word in lines[0] for word in words)

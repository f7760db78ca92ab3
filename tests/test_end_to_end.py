"""The real commands on the real config, shrunk: train, stop, go on, score."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import simulated

from vivit_jax.data import prepare

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12
SMALL = [
  '--config.model.options.spatial_layers=1',
  '--config.model.options.temporal_layers=1',
  '--config.train.batch_size=8',
  f'--config.train.epochs={STEPS * 8 / 48}',
  '--config.train.log_every=1',
  '--config.train.validate_every=6',
  '--config.train.checkpoint_every=4',
  '--config.augment.mixup=0.3',
  '--config.model.stochastic_depth=0.2',
]


def command(script, workdir, *flags, devices=1, apart=False):
  return subprocess.Popen(
    [sys.executable, ROOT / script, f'--workdir={workdir}', *flags],
    env=simulated.environment(devices),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=apart,
  )


def run(*arguments, **keys):
  process = command(*arguments, **keys)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, out + err
  return out


def train_flags(data_dir):
  config = ROOT / 'configs' / 'moving_shapes_ti8x2_fe.py'
  return [f'--config={config}', f'--config.data.data_dir={data_dir}', *SMALL]


def losses(workdir):
  """Returns step -> loss of metrics.jsonl; a step may stand there once."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  steps = [row['step'] for row in rows if 'train/loss' in row]
  assert len(steps) == len(set(steps))
  return {row['step']: row['train/loss'] for row in rows if 'train/loss' in row}


@pytest.fixture(scope='module')
def trained(prepared, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'whole'
  run('train.py', workdir, *train_flags(prepared))
  return workdir


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_make_the_same_run(
  trained, prepared, tmp_path
):
  flags = train_flags(prepared)
  process = command('train.py', tmp_path, *flags)
  for line in process.stdout:
    if line.startswith('step 3/'):
      break
  process.send_signal(signal.SIGINT)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 130, out + err
  assert 'Traceback' not in err
  stopped = max(losses(tmp_path))
  assert 3 <= stopped < STEPS
  assert f'stopped at step {stopped}' in out
  out = run('train.py', tmp_path, *flags)
  assert f'resuming from step {stopped} of {STEPS}' in out
  expected, found = losses(trained), losses(tmp_path)
  assert sorted(found) == list(range(1, STEPS + 1)) == sorted(expected)
  np.testing.assert_allclose(
    [found[s] for s in found], [expected[s] for s in found], rtol=1e-5
  )


@pytest.mark.slow
def test_a_run_says_where_its_time_goes(prepared, tmp_path):
  flags = [*train_flags(prepared), '--config.train.profile_first=3']
  out = run('train.py', tmp_path, *flags, '--config.train.profile_steps=2')
  assert 'factorised_encoder Ti: 973,454 parameters' in out
  found = re.search(r'memory of each device in a step: ([\d.]+) MB', out)
  # Parameters, momentum and gradients, 973,454 float32 each, at the least.
  assert found and float(found[1]) > 3 * 4 * 0.973
  assert 'the trace of steps 3 to 4 is in' in out
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if 'train/loss' in row]
  for row in rows[1:]:
    parts = {k: v for k, v in row.items() if k.startswith('train/seconds/')}
    assert {'train/seconds/input', 'train/seconds/device'} <= parts.keys()
    # Validation and checkpoints, which some rows have, are no part of a step.
    own = sum(parts[f'train/seconds/{p}'] for p in ('input', 'device', 'host'))
    assert own == pytest.approx(8 / row['train/clips_per_second'])


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(trained, prepared):
  out = run('train.py', trained, *train_flags(prepared))
  assert f'training ended at step {STEPS}' in out


@pytest.mark.slow
def test_every_option_of_a_step_goes_on_on_other_devices(prepared, tmp_path):
  """Two devices and two parts each; then one, four parts, stacked layers."""
  flags = [
    *train_flags(prepared),
    f'--config.train.epochs={4 * 8 / 48}',
    '--config.train.checkpoint_every=2',
    '--config.train.ema=0.9',
    '--config.optim.name=lamb',
    '--config.optim.learning_rate=0.01',
    '--config.optim.sam_rho=0.02',
    '--config.optim.layer_decay=0.8',
    '--config.optim.freeze=^cls_|Spatial.*/posembed',
    '--config.model.remat=dots',
  ]
  whole, moved = tmp_path / 'whole', tmp_path / 'moved'
  run('train.py', whole, *flags, '--config.train.accumulate=2', devices=2)
  shutil.copytree(whole, moved)
  shutil.rmtree(moved / 'checkpoints' / '4')
  other = ['--config.train.accumulate=4', '--config.model.scan=True']
  out = run('train.py', moved, *flags, *other)
  assert 'resuming from step 2 of 4' in out
  expected, found = losses(whole), losses(moved)
  np.testing.assert_allclose(
    [found[s] for s in (3, 4)], [expected[s] for s in (3, 4)], rtol=1e-5
  )
  texts = []
  for flag, name in (
    ('--ema', 'step 4, averaged weights'),
    ('--noema', 'step 4'),
  ):
    folder = tmp_path / flag
    run('evaluate.py', whole, '--checkpoint=last', flag, f'--out={folder}')
    report = json.loads((folder / 'metrics.json').read_text())
    assert report['protocol']['checkpoint'] == name
    texts.append((folder / 'predictions.csv').read_text())
  assert texts[0] != texts[1]


@pytest.mark.slow
def test_another_run_starts_from_its_weights_alone(trained, prepared, tmp_path):
  """Step and optimiser begin anew; the loss does not."""
  flags = [*train_flags(prepared), f'--config.init_from={trained}']
  out = run('train.py', tmp_path, *flags, '--config.train.seed=1')
  assert f'starting from {trained} (vivit_jax, step ' in out
  assert '0 arrays unchanged' not in out and 'fresh' not in out
  found = losses(tmp_path)
  assert sorted(found) == list(range(1, STEPS + 1))
  # The head is zero at a start from nothing: ln 8 + ln 8 without its mixup.
  assert abs(found[1] - losses(trained)[1]) > 1e-4
  again = run('train.py', tmp_path, *flags, '--config.train.seed=1')
  assert 'training ended at' in again and 'starting from' not in again


@pytest.mark.slow
def test_evaluation_of_a_file_is_that_of_its_run(trained, prepared, tmp_path):
  """As a checkpoint of another format, with its classes' order given."""
  convert = [sys.executable, '-m', 'vivit_jax.checkpoints', 'convert']
  subprocess.run(
    [*convert, trained, tmp_path / 'weights', '--to=scenic'],
    cwd=ROOT, check=True,
  )  # fmt: skip
  run('evaluate.py', trained, f'--out={tmp_path / "a"}')
  config = ROOT / 'configs' / 'moving_shapes_ti8x2_fe.py'
  process = subprocess.run(
    [
      sys.executable, ROOT / 'evaluate.py', f'--config={config}',
      *SMALL[:2], f'--config.data.data_dir={prepared}',
      f'--checkpoint={tmp_path / "weights"}', f'--out={tmp_path / "b"}',
    ],
    env=simulated.environment(),
    capture_output=True, text=True,
  )  # fmt: skip
  assert process.returncode == 0, process.stderr
  first, second = (
    (tmp_path / name / 'predictions.csv').read_text() for name in 'ab'
  )
  assert first == second


@pytest.mark.slow
def test_scores_do_not_depend_on_devices_or_batch(trained, tmp_path):
  reports = []
  for devices, batch in ((1, 16), (4, 3)):
    out = tmp_path / str(devices)
    run(
      'evaluate.py',
      trained,
      f'--out={out}',
      f'--batch_size={batch}',
      devices=devices,
    )
    with open(out / 'predictions.csv', newline='') as file:
      rows = list(csv.DictReader(file))
    reports.append((json.loads((out / 'metrics.json').read_text()), rows))
    assert (out / 'report.html').stat().st_size > 5000
  (metrics, rows), (metrics4, rows4) = reports
  assert len(rows) == 22
  assert len({row['example'] for row in rows}) == 22
  assert len(metrics['scores']) >= 7
  for key, value in metrics['scores'].items():
    assert metrics4['scores'][key] == pytest.approx(value, abs=1e-5), key
  for row, row4 in zip(rows, rows4):
    for column, value in row.items():
      if column.endswith('probability'):
        assert float(row4[column]) == pytest.approx(float(value), abs=2e-5)
      else:
        assert row4[column] == value


@pytest.mark.slow
def test_evaluation_starts_from_the_config_of_the_workdir(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  path = workdir / 'config.json'
  config = json.loads(path.read_text())
  config['evaluation'] |= {'temporal_views': 2, 'split': 'validation'}
  path.write_text(json.dumps(config))
  run('evaluate.py', workdir)
  report = workdir / 'evaluation' / 'validation' / 'metrics.json'
  protocol = json.loads(report.read_text())['protocol']
  assert protocol['temporal_views'] == 2
  config['train']['seed'] = 8
  for text, words in (
    (json.dumps(config), 'train.seed is 0 there and 8 now'),
    (path.read_text()[:50], 'config.json is damaged'),
    (None, 'no config.json'),
  ):
    path.write_text(text) if text else path.unlink()
    process = command('evaluate.py', workdir)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and words in err, err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize('seconds', [0.0, 0.3, 0.6, 1.0, 2.0])
def test_ctrl_c_while_workers_start_is_no_traceback(
  prepared, tmp_path, seconds
):
  """A terminal sends it to the workers too, also before they can ignore it."""
  process = command('train.py', tmp_path, *train_flags(prepared), apart=True)
  while not (tmp_path / 'metrics.jsonl').exists():  # made before the workers
    if (tmp_path / 'tensorboard').exists() or process.poll() is not None:
      break
    time.sleep(0.01)
  time.sleep(seconds)
  os.killpg(process.pid, signal.SIGINT)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 130, out + err
  assert 'Traceback' not in err


@pytest.mark.slow
def test_a_label_that_the_model_does_not_know_is_named(
  trained, prepared, tmp_path
):
  raw = prepared / 'raw' / 'moving_shapes'
  rows = (raw / 'annotations.csv').read_text().splitlines()
  test = [row.replace('arrow', 'arow') for row in rows if 'test' in row]
  (tmp_path / 'a.csv').write_text('\n'.join([rows[0], *test]) + '\n')
  prepare.prepare(
    'moving_shapes',
    videos=raw / 'videos',
    annotations=tmp_path / 'a.csv',
    data_dir=tmp_path,
    workers=1,
  )
  process = command('evaluate.py', trained, f'--data_dir={tmp_path}')
  _, err = process.communicate(timeout=120)
  assert process.returncode == 2
  assert err.startswith('error: ') and 'Traceback' not in err
  assert "'arow'" in err and 'noun' in err and "'arrow'" in err


@pytest.mark.slow
def test_mistakes_of_evaluation_are_one_sentence(trained, tmp_path):
  for flags, words in (
    (['--split=tset'], ["'tset'", 'test, train, validation']),
    (['--checkpoint=99'], ["'99'", '12']),
    (['--views=4'], ["'4'", '4x3']),
    (['--views=4x2'], ['spatial_crops is 2']),
    ([f'--data_dir={tmp_path}'], [str(tmp_path), 'vivit_jax.data.prepare']),
  ):
    process = command('evaluate.py', trained, *flags)
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line]
    assert process.returncode == 2, err
    assert len(lines) == 1 and lines[0].startswith('error: '), err
    for word in words:
      assert word in lines[0]

"""The real commands on the real config, shrunk: train, stop, go on, score."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import demo
import hub_server
import numpy as np
import pytest
from demo import losses

from vivit_jax.data import prepare

STEPS = 12


def command(script, workdir, *flags, **keys):
  return demo.start(script, f'--workdir={workdir}', *flags, **keys)


def run(*arguments, **keys):
  return demo.finish(command(*arguments, **keys))


def train_flags(data_dir, **changes):
  keys = {'data__workers': 1, 'train__epochs': STEPS / demo.EPOCH}
  return demo.flags(data_dir, **(demo.EVENTFUL | keys | changes))


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
  demo.until_step(process, 3)
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
  keys = dict(train__profile_first=3, train__profile_steps=2)
  out = run('train.py', tmp_path, *train_flags(prepared, **keys))
  count = re.search(r'factorised_encoder Ti: ([\d,]+) parameters', out)[1]
  found = re.search(r'memory of each device in a step: ([\d.]+) MB', out)
  # Parameters, two moments and gradients, float32 each, at the least.
  assert float(found[1]) > 4 * 4e-6 * int(count.replace(',', ''))
  assert 'the trace of steps 3 to 4 is in' in out
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))
  rows = [row for row in demo.rows(tmp_path) if 'train/loss' in row]
  for row in rows[1:]:
    parts = {k: v for k, v in row.items() if k.startswith('train/seconds/')}
    assert {'train/seconds/input', 'train/seconds/device'} <= parts.keys()
    # Validation and checkpoints, which some rows have, are no part of a step.
    own = sum(parts[f'train/seconds/{p}'] for p in ('input', 'device', 'host'))
    assert own == pytest.approx(8 / row['train/clips_per_second'])


@pytest.mark.slow
def test_every_option_of_a_step_goes_on_on_other_devices(prepared, tmp_path):
  """Two devices and two parts each; then one, four parts, stacked layers."""
  flags = train_flags(
    prepared,
    train__epochs=4 / demo.EPOCH,
    train__checkpoint_every=2,
    train__ema=0.9,
    optim__name='lamb',
    optim__learning_rate=0.01,
    optim__sam_rho=0.02,
    optim__layer_decay=0.8,
    optim__freeze='^cls_|Spatial.*/posembed',
    model__remat='dots',
  )
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
def test_a_run_starts_from_a_name_and_goes_on_without_it(
  trained, prepared, tmp_path, monkeypatch
):
  repository = tmp_path / 'repository'
  repository.mkdir()
  convert = [sys.executable, '-m', 'vivit_jax.checkpoints', 'convert']
  weights = repository / 'weights.msgpack'
  subprocess.run(
    [*convert, trained, weights, '--to=scenic'], cwd=demo.ROOT, check=True
  )
  name = 'hf://owner/run'
  flags = [*train_flags(prepared), f'--config.init_from={name}']
  monkeypatch.setenv('HF_HOME', str(tmp_path / 'home'))
  with hub_server.serving() as hub:
    monkeypatch.setenv('HF_ENDPOINT', hub.url)
    hub.add('owner/run', repository)
    out = run('train.py', tmp_path / 'run', *flags)
    assert f'starting from {name} (' in out and f'parameters of {name}' in out
    assert hub.downloads() == ['weights.msgpack']
    process = demo.start(
      'evaluate.py',
      *demo.flags(prepared),
      f'--checkpoint={name}',
      f'--out={tmp_path / "out"}',
    )
    demo.finish(process)
  protocol = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
  assert protocol['protocol']['checkpoint'] == name
  saved = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert saved['init_from'] == name
  monkeypatch.setenv('HF_HOME', str(tmp_path / 'empty'))
  again = run('train.py', tmp_path / 'run', *flags)
  assert 'training ended at' in again


@pytest.mark.slow
def test_evaluation_of_a_file_is_that_of_its_run(trained, prepared, tmp_path):
  """As a checkpoint of another format, with its classes' order given."""
  convert = [sys.executable, '-m', 'vivit_jax.checkpoints', 'convert']
  subprocess.run(
    [*convert, trained, tmp_path / 'weights', '--to=scenic'],
    cwd=demo.ROOT, check=True,
  )  # fmt: skip
  run('evaluate.py', trained, f'--out={tmp_path / "a"}')
  process = demo.start(
    'evaluate.py',
    *demo.flags(prepared),
    f'--checkpoint={tmp_path / "weights"}',
    f'--out={tmp_path / "b"}',
  )
  demo.finish(process)
  first, second = (
    (tmp_path / name / 'predictions.csv').read_text() for name in 'ab'
  )
  assert first == second


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
@pytest.mark.parametrize('seconds', [0.0, 0.6, 2.0])
def test_ctrl_c_while_workers_start_is_no_traceback(
  prepared, tmp_path, seconds
):
  """A terminal sends it to the workers too, also before they can ignore it."""
  process = command(
    'train.py', tmp_path, *train_flags(prepared), start_new_session=True
  )
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
  assert "'arow'" in err and 'noun' in err


@pytest.mark.slow
def test_mistakes_of_evaluation_are_one_sentence(trained):
  for flags, words in (
    (['--split=tset'], ["'tset'", 'test, train, validation']),
    (['--checkpoint=99'], ["'99'", '12']),
    (['--views=4'], ["'4'", '4x3']),
  ):
    process = command('evaluate.py', trained, *flags)
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line]
    assert process.returncode == 2, err
    assert len(lines) == 1 and lines[0].startswith('error: '), err
    for word in words:
      assert word in lines[0]

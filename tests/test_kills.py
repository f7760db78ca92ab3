"""Killed at any moment and started again, a run is the run that was not.

VIVIT_KILLS=20 pytest tests/test_kills.py: with so many kills.
"""

import os
import random
import signal
import threading
import time

import demo
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vivit_jax import config as configs
from vivit_jax.data import datasets, pipeline

KILLS = int(os.environ.get('VIVIT_KILLS', 3))
STEPS = 6 * KILLS + 3


def start(workdir, data_dir):
  flags = demo.flags(
    data_dir,
    model__stochastic_depth=0.3,
    data__workers=1,
    augment__randaugment_layers=2,
    augment__colour_jitter=0.8,
    augment__colour_drop=0.2,
    augment__erasing=0.3,
    augment__mixup=0.3,
    augment__cutmix=1.0,
    augment__repeats=2,
    train__label_smoothing=0.1,
    # Neither is a multiple of another.
    train__log_every=3,
    train__checkpoint_every=2,
    train__validate_every=5,
    train__epochs=STEPS / demo.EPOCH / 2,
  )
  return demo.start('train.py', f'--workdir={workdir}', *flags, devices=2)


def start_probe(workdir, data_dir, encoder, tokens):
  flags = demo.flags(
    data_dir,
    init_from=encoder,
    data__workers=1,
    augment__flip=0.5,
    augment__colour_jitter=0.8,
    model__dropout=0.3,
    probe__tokens=tokens,
    probe__clips=2,
    probe__pools="('mean', 'attention/videoglue')",
    probe__learning_rates='(1e-2, 1e-3)',
    train__log_every=3,
    train__checkpoint_every=2,
    train__validate_every=5,
    train__epochs=STEPS / demo.EPOCH,
  )
  module = 'vivit_jax.probe'
  return demo.start('-m', module, f'--workdir={workdir}', *flags, devices=2)


def kill_somewhere(process, workdir, draw):
  """Kills the process at a random moment of its life; says which kind.

  Some kills wait for more steps, so that they come where epochs end, at
  validations and at all checkpoints, not only the first.
  """
  kind = draw.choice(['start', 'step', 'later', 'checkpoint', 'checkpoint'])
  more = draw.randint(1, 4)  # lines, or checkpoints
  lines, seen = [], set()

  def checkpoints():
    found = (workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*')
    seen.update(path.name for path in found)
    return len(seen)

  reader = threading.Thread(target=lambda: lines.extend(process.stdout))
  reader.start()
  begin = time.monotonic()
  until = {
    'start': lambda: time.monotonic() - begin > delay,
    'step': lambda: lines and lines[-1].startswith(('step', 'validation')),
    'later': lambda: sum(x.startswith(('step', 'valid')) for x in lines) > more,
    'checkpoint': lambda: checkpoints() >= min(more, 3),
  }[kind]
  delay = draw.uniform(0, 10)
  if kind == 'checkpoint':  # those that a kill left are not of this process
    while process.poll() is None and not any('resuming' in x for x in lines):
      if not any((workdir / 'checkpoints').glob('*')):
        break
      time.sleep(0.01)
  while process.poll() is None and not until():
    time.sleep(0.0005)
  time.sleep(draw.choice([0.0, 0.005, 0.02, draw.uniform(0, 0.5)]))
  process.send_signal(signal.SIGKILL)
  _, err = process.communicate(timeout=600)
  reader.join()
  assert process.returncode in (-signal.SIGKILL, 0), err
  return kind


def rows(workdir):
  """Returns the lines of metrics.jsonl, but for the speed."""
  found = demo.rows(workdir)
  for row in found:
    for key in list(row):
      if key.startswith(('train/clips_per_second', 'train/seconds/')):
        del row[key]  # how fast it was
  return found


def last_state(workdir):
  """Returns the last step, and its arrays as Orbax has them."""
  folders = (workdir / 'checkpoints').iterdir()
  step = max(int(f.name) for f in folders if f.name.isdecimal())
  path = (workdir / 'checkpoints' / str(step) / 'state').absolute()
  return step, ocp.StandardCheckpointer().restore(path)


@pytest.mark.slow
def test_a_run_that_is_killed_is_the_run_that_is_not(prepared, tmp_path):
  seed = int(os.environ.get('VIVIT_KILLS_SEED', time.time()))
  print(f'VIVIT_KILLS_SEED={seed}')
  draw = random.Random(seed)
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  demo.finish(start(whole, prepared))
  kinds = [
    kill_somewhere(start(killed, prepared), killed, draw) for _ in range(KILLS)
  ]
  print(kinds)
  demo.finish(start(killed, prepared))
  check_same(whole, killed, STEPS)
  assert rows(killed) == rows(whole)


def check_same(whole, killed, step=None):
  """Compares the last states, bit for bit."""
  assert not list((killed / 'checkpoints').glob('*damaged'))
  expected_step, expected = last_state(whole)
  assert step in (None, expected_step)
  found_step, found = last_state(killed)
  assert found_step == expected_step
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
  left = [f.name for f in (killed / 'checkpoints').iterdir()]
  assert all(name.isdecimal() for name in left), left


@pytest.mark.slow
@pytest.mark.parametrize('tokens', ['encoder', 'stored'])
def test_a_probe_that_is_killed_is_the_probe_that_is_not(
  prepared, tmp_path, tokens
):
  seed = int(os.environ.get('VIVIT_KILLS_SEED', time.time()))
  print(f'VIVIT_KILLS_SEED={seed}')
  draw = random.Random(seed)
  encoder = tmp_path / 'encoder'
  flags = demo.flags(prepared, model__pool='mean', train__epochs=0.5)
  demo.finish(demo.start('train.py', f'--workdir={encoder}', *flags))
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  demo.finish(start_probe(whole, prepared, encoder, tokens))
  for _ in range(KILLS):
    process = start_probe(killed, prepared, encoder, tokens)
    print(kill_somewhere(process, killed / 'grid', draw))
  demo.finish(start_probe(killed, prepared, encoder, tokens))
  check_same(whole / 'grid', killed / 'grid', STEPS)
  check_same(whole, killed)
  assert rows(killed / 'grid') == rows(whole / 'grid')
  for name in ('probe.csv', 'config.json'):
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
  shards = sorted(path.relative_to(whole) for path in whole.rglob('*.npy'))
  assert len(shards) == (2 if tokens == 'stored' else 0)
  for shard in shards:
    assert (killed / shard).read_bytes() == (whole / shard).read_bytes()


def test_no_example_is_seen_twice_or_missed(prepared):
  """Whatever the steps that a run is stopped at, and the processes."""
  data = configs.resolve(demo.config(prepared)).data
  source = datasets.open_split('moving_shapes', prepared, 'train')
  draw = random.Random(0)
  for processes in (1, 2):
    step, seen = 0, []
    while step < 18:  # three epochs of six batches
      shares = [
        pipeline.train_batches(
          source, data, seed=3, batch_size=8, first_step=step,
          process=process, processes=processes,
        )
        for process in range(processes)
      ]  # fmt: skip
      for _ in range(min(draw.randint(1, 5), 18 - step)):
        seen.append(np.concatenate([next(x)['index'] for x in shares]))
        step += 1
    for epoch in range(3):
      index = np.concatenate(seen[6 * epoch : 6 * epoch + 6])
      np.testing.assert_array_equal(np.sort(index), np.arange(48))

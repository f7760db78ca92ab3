"""Real processes on one machine: one run, whatever their number."""

import csv
import json
import re
import signal
import time

import demo
import numpy as np
import pytest
import simulated
from demo import losses, rows, until_step

from vivit_jax.evaluation.predictions import Table

STEPS = 12


def start(script, count, devices, *flags, own=None):
  """Starts a command as so many processes with so many devices each.

  Flags of a process alone are in `own`, by its number.
  """
  address = simulated.address()
  together = [f'--coordinator={address}', f'--processes={count}']
  return [
    demo.start(
      script,
      *flags,
      *([*together, f'--process={number}'] if count > 1 else []),
      *(own or {}).get(number, []),
      devices=devices,
    )
    for number in range(count)
  ]


def finish(processes):
  """Returns what each prints."""
  return [demo.finish(process) for process in processes]


def kill(processes):
  for process in processes:
    process.kill()
  for process in processes:
    process.communicate()


def printed(out):
  """Returns the lines that are not of the CPU's collectives (in C++).

  Its threads write into one another's lines.
  """
  gloo = ('[Gloo]', 'peer ranks')
  return [x for x in out.splitlines() if x and not any(g in x for g in gloo)]


def train(workdir, data_dir, count, devices, own=None):
  flags = demo.flags(
    data_dir, **demo.EVENTFUL, train__epochs=STEPS / demo.EPOCH
  )
  return start(
    'train.py', count, devices, f'--workdir={workdir}', *flags, own=own
  )


@pytest.fixture(scope='module')
def alone(prepared, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'alone'
  finish(train(workdir, prepared, 1, 4))
  return workdir


@pytest.mark.slow
def test_two_processes_are_killed_and_one_goes_on(alone, prepared, tmp_path):
  processes = train(tmp_path, prepared, 2, 2)
  until_step(processes[0], 6)
  kill(processes)
  stopped = max(losses(tmp_path))
  out = finish(train(tmp_path, prepared, 1, 4))[0]
  assert re.search(rf'resuming from step [4-{stopped}] of {STEPS}', out), out
  expected, found = losses(alone), losses(tmp_path)
  assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
  np.testing.assert_allclose(
    [found[s] for s in found], [expected[s] for s in found], rtol=1e-5
  )


@pytest.mark.slow
def test_one_process_goes_on_as_two(alone, prepared, tmp_path):
  """And stops by a signal to either; evaluation is the same on both."""
  processes = train(tmp_path, prepared, 2, 2)
  until_step(processes[0], 2)
  processes[1].send_signal(signal.SIGTERM)
  ended = [process.communicate(timeout=120) for process in processes]
  assert [process.returncode for process in processes] == [143, 143], ended
  assert 'stopped at step' in ended[0][0] and not printed(ended[1][0])
  outs = finish(train(tmp_path, prepared, 2, 2))
  assert 'resuming from step' in outs[0] and not printed(outs[1])
  expected, found = losses(alone), losses(tmp_path)
  assert sorted(found) == list(range(1, STEPS + 1))
  np.testing.assert_allclose(
    [found[s] for s in expected], [expected[s] for s in expected], rtol=1e-5
  )
  scores = [
    [row for row in rows(folder) if 'validation/top1' in row]
    for folder in (alone, tmp_path)
  ]
  assert len(scores[0]) == len(scores[1]) == 2
  for expected, found in zip(*scores):
    # Accuracies are the same, losses but for rounding.
    assert 'validation/loss' in found
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_evaluation_on_two_processes_is_that_on_one(alone, tmp_path):
  reports = []
  for count, devices in ((1, 1), (2, 2)):
    out = tmp_path / str(count)
    flags = [f'--workdir={alone}', f'--out={out}', '--batch_size=6']
    finish(start('evaluate.py', count, devices, *flags))
    with open(out / 'predictions.csv', newline='') as file:
      table = list(csv.DictReader(file))
    reports.append((json.loads((out / 'metrics.json').read_text()), table))
  (metrics, table), (metrics2, table2) = reports
  assert len(table) == 22 and len({row['example'] for row in table}) == 22
  assert [row['example'] for row in table] == [row['example'] for row in table2]
  assert len(metrics['scores']) >= 7
  for key, value in metrics['scores'].items():
    assert metrics2['scores'][key] == pytest.approx(value, abs=1e-5), key
  first, second = (Table.read(tmp_path / count) for count in '12')
  for head, logits in first.logits.items():
    np.testing.assert_allclose(second.logits[head], logits, atol=2e-5)
    np.testing.assert_array_equal(
      second.logits[head].argmax(-1), logits.argmax(-1)
    )


@pytest.mark.slow
def test_two_processes_evaluate_are_killed_and_one_goes_on(alone, tmp_path):
  """With other videos at a time: each process's finished ones count."""
  out, whole = tmp_path / 'out', tmp_path / 'whole'
  flags = [f'--workdir={alone}', '--views=2x1']
  finish(start('evaluate.py', 1, 1, *flags, f'--out={whole}'))
  processes = start(
    'evaluate.py', 2, 1, *flags, f'--out={out}', '--batch_size=2'
  )
  deadline = time.monotonic() + 120
  while len(list(out.glob('.unfinished-*/*.npz'))) < 5:
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in processes)
    time.sleep(0.005)
  kill(processes)
  done = sum(
    len(np.load(path)['index']) for path in out.glob('.unfinished-*/*.npz')
  )
  (told,) = finish(start('evaluate.py', 1, 2, *flags, f'--out={out}'))
  assert f'{done} of 22 videos are done' in told
  one, other = Table.read(whole), Table.read(out)
  assert one.ids == other.ids and len(one.ids) == 22
  for head, logits in one.logits.items():
    np.testing.assert_array_equal(one.labels[head], other.labels[head])
    np.testing.assert_allclose(other.logits[head], logits, atol=2e-5)
  assert not list(out.glob('.unfinished-*'))


@pytest.mark.slow
@pytest.mark.parametrize('dies', [0, 1])
def test_a_process_that_dies_ends_the_other(prepared, tmp_path, dies):
  processes = train(tmp_path, prepared, 2, 1)
  until_step(processes[0], 1)
  processes[dies].kill()
  begin = time.monotonic()
  _, err = processes[1 - dies].communicate(timeout=120)
  assert processes[1 - dies].returncode not in (0, None)
  assert time.monotonic() - begin < 60
  assert ('heartbeats):\n1\n' if dies else 'leader task') in err, err


@pytest.mark.slow
def test_processes_of_other_configs_do_not_train(prepared, tmp_path):
  own = {1: ['--config.train.seed=7']}
  processes = train(tmp_path / 'run', prepared, 2, 1, own)
  for process in processes:
    _, err = process.communicate(timeout=200)
    words = 'train.seed is 7 in process 1 and 0 in process 0'
    assert process.returncode == 2 and words in err, err
  assert not (tmp_path / 'run').exists()

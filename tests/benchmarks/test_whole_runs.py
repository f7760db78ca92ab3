"""The arithmetic of the benchmarks of whole runs, on made-up figures."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import end_to_end, logging_cost, measure, pinning, views
from vivit_jax.errors import UserError

_PARENT = """
import multiprocessing, threading, time

def work(connection):
  threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
  connection.send(1)
  time.sleep(60)

if __name__ == '__main__':
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  worker = context.Process(target=work, args=(theirs,), daemon=True)
  worker.start()
  ours.recv()
  print(worker.pid, flush=True)
  input()
  worker.kill()
"""


def clock(times):
  """Returns what tells these times, one after another."""
  times = iter(times)
  return lambda: next(times)


def test_the_slower_part_is_what_train_is_compared_with():
  parts = {
    'input alone': [100.0, 80.0],
    'step alone': [50.0, 160.0],
    'train.py': [45.0, 60.0],
  }
  assert end_to_end.slower_part(parts) == [50.0, 80.0]
  # 45 / 50, 60 / 80.
  row = end_to_end.table({'a case': parts}).splitlines()[-1]
  assert row == (
    '| a case | 90.0 | 105.0 | 52.5 | 0.82 (0.75 to 0.90) | >= 0.9: missed |'
  )
  first = {name: speeds[:1] for name, speeds in parts.items()}
  row = end_to_end.table({'a case': first}).splitlines()[-1]
  assert row.endswith('| 0.90 (one round) | >= 0.9: reached |')


def test_lines_of_metrics_are_told_from_others():
  lines = [
    'step: it needs memory',
    'step 10/400  loss 1.2  90 clips/s',
    'validation at step 10  top1 0.1',
    'step 20/400  loss 1.1',
  ]
  # Each line has its time, that of the others included.
  steps = end_to_end.steps_of(iter(lines), clock([1.0, 2.0, 3.0, 4.0]))
  assert list(steps) == [(2.0, 10), (4.0, 20)]


def test_speed_is_that_between_two_lines_once_it_is_warm():
  lines = [(0.0, 10), (1.0, 20), (2.5, 30), (4.0, 40), (6.5, 60), (9.0, 61)]
  steps = iter(lines)
  # Warm at 2.5 s, step 30; 3 s after that are over at 6.5 s, step 60.
  speed = end_to_end.clips_a_second(steps, 8, seconds=3.0, warm_seconds=2.0)
  assert speed == 30 * 8 / 4.0
  assert next(steps) == (9.0, 61)  # no more are taken
  with pytest.raises(UserError, match='before it was measured'):
    end_to_end.clips_a_second(iter(lines[:4]), 8, seconds=3.0, warm_seconds=2.0)


def test_cores_are_split_in_two_without_a_rest():
  assert pinning.halves([3, 1, 0, 2]) == ([0, 1], [2, 3])
  assert pinning.halves({4, 7, 9}) == ([4], [7, 9])
  with pytest.raises(UserError, match='two cores'):
    pinning.halves([0])


@pytest.mark.skipif(
  not hasattr(os, 'sched_setaffinity') or len(os.sched_getaffinity(0)) < 2,
  reason='there is nothing to choose from',
)
def test_workers_are_moved_with_their_threads_and_nothing_else_is(tmp_path):
  """A process that has a worker with a thread, and its resource tracker."""
  script = tmp_path / 'parent.py'
  script.write_text(_PARENT)
  cores = sorted(os.sched_getaffinity(0))
  process = subprocess.Popen(
    [sys.executable, str(script)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    worker = int(process.stdout.readline())
    assert worker in measure.tree(process.pid)
    assert pinning.pin_workers(process.pid, cores[1:2]) == 1
    tasks = [int(task) for task in os.listdir(f'/proc/{worker}/task')]
    assert len(tasks) > 1
    for task in tasks:
      assert os.sched_getaffinity(task) == set(cores[1:2])
    assert os.sched_getaffinity(process.pid) == set(cores)
  finally:
    process.communicate('\n', timeout=60)


def test_logging_is_compared_with_the_turn_beside_it():
  seconds = [1.1, 2.4, 1.5]
  baseline = [1.0, 2.0, 1.0]
  # 10, 20 and 50%: quartiles of three are halfway to the middle.
  found = logging_cost.shares(seconds, baseline)
  np.testing.assert_allclose(found, [0.2, 0.15, 0.35])
  lines = list(
    logging_cost.table(
      {1: seconds, logging_cost.DEFAULT: baseline, None: baseline}
    )
  )
  assert '| step | 1500.00 | 20.00% (15.00% to 35.00%) |  |' in lines
  assert '| never | 1000.00 |  |  |' in lines
  # A 50th of them.
  assert logging_cost.DEFAULT == 50
  last = '| the first, by 50 |  | 0.40% (0.30% to 0.70%) | < 1%: reached |'
  assert lines[-1] == last
  slower = {1: [4.0] * 3, logging_cost.DEFAULT: seconds, None: baseline}
  assert list(logging_cost.table(slower))[-1].endswith('| < 1%: missed |')


def test_views_are_compared_with_as_many_single_ones():
  found = {1: [1.0, 1.0, 2.0], 12: [12.0, 12.6, 26.4]}
  np.testing.assert_allclose(views.ratios(found), [1.0, 1.05, 1.1])
  *_, row = views.table(found)
  assert '| 1.050 (1.000 to 1.100) | goal <= 1.05: reached |' in row
  found[12][1] = 13.0
  assert 'missed' in list(views.table(found))[-1]


def test_one_view_is_measured_as_often_as_there_are_views(monkeypatch):
  config = views.experiment_config('Ti', 1, 2, 16)
  calls = []
  now = [0.0]

  def call(batch):
    calls.append(batch.shape[1])
    now[0] += 12.0 if batch.shape[1] == 12 else 1.0 + (len(calls) > 9)

  monkeypatch.setattr(views.time, 'perf_counter', lambda: now[0])
  found = views.measure(call, config, videos=1, rounds=1)
  assert calls == [1, 12] + [1] * 6 + [12] + [1] * 6
  assert found == {1: [1.5], 12: [12.0]}  # 1 s before, 2 s after

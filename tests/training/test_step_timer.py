"""The parts and the rest add up to all of the time."""

import time

import pytest

from vivit_jax.training import step_timer


@pytest.fixture
def now(monkeypatch):
  """Returns the clock's time in a list, to be moved by hand."""
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  return now


def test_parts_are_summed_and_the_rest_is_the_hosts(now):
  timer = step_timer.StepTimer()
  for _ in range(2):
    with timer.measure('input'):
      now[0] += 3.0
    with timer.measure('device'):
      now[0] += 1.0
    now[0] += 0.5
  assert timer.report(2) == {
    'seconds/input': 3.0,
    'seconds/device': 1.0,
    'seconds/host': 0.5,
  }
  now[0] += 4.0
  assert timer.report(4) == {'seconds/host': 1.0}


def test_a_part_that_fails_is_counted(now):
  timer = step_timer.StepTimer()
  with pytest.raises(ZeroDivisionError), timer.measure('input'):
    now[0] += 2.0
    raise ZeroDivisionError
  assert timer.report(1) == {'seconds/input': 2.0, 'seconds/host': 0.0}


def test_step_seconds_leave_out_validation_and_checkpoints(now):
  timer = step_timer.StepTimer()
  parts = dict(input=1.0, device=4.0, validation=50.0, checkpoint=9.0)
  for part, seconds in parts.items():
    with timer.measure(part):
      now[0] += seconds
  now[0] += 3.0  # the host's own
  assert step_timer.step_seconds(timer.report(4)) == (1 + 4 + 3) / 4

"""Parts and the rest are all of the time."""

import time

import pytest

from vivit_jax.training import clock


def test_parts_are_summed_and_the_rest_is_the_hosts(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  timer = clock.Clock()
  for _ in range(2):
    with timer.measure('input'):
      now[0] += 3.0
    with timer.measure('device'):
      now[0] += 1.0
    now[0] += 0.5
  found = timer.report(2)
  assert found == {
    'seconds/input': 3.0,
    'seconds/device': 1.0,
    'seconds/host': 0.5,
  }
  now[0] += 4.0
  assert timer.report(4) == {'seconds/host': 1.0}


def test_a_part_that_fails_is_counted(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  timer = clock.Clock()
  with pytest.raises(ZeroDivisionError), timer.measure('input'):
    now[0] += 2.0
    raise ZeroDivisionError
  assert timer.report(1) == {'seconds/input': 2.0, 'seconds/host': 0.0}


def test_a_step_takes_what_no_validation_or_checkpoint_takes(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  timer = clock.Clock()
  parts = dict(input=1.0, device=4.0, validation=50.0, checkpoint=9.0)
  for part, seconds in parts.items():
    with timer.measure(part):
      now[0] += seconds
  now[0] += 3.0  # the host's own
  assert clock.step_seconds(timer.report(4)) == (1 + 4 + 3) / 4

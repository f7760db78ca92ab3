"""The arithmetic of benchmarks/start_up.py, and what it waits for."""

import sys

import pytest

from benchmarks import start_up
from vivit_jax.errors import UserError


def test_a_ratio_is_the_median_of_the_rounds():
  rounds = [
    {'without': 10.0, 'empty': 12.0, 'full': 4.0},
    {'without': 20.0, 'empty': 20.0, 'full': 10.0},
    {'without': 40.0, 'empty': 44.0, 'full': 10.0},
  ]
  row = start_up.table({'it': rounds}).splitlines()[-1]
  assert row == (
    '| it | 20.0 | 20.0 | 1.10 (1.00 to 1.20) | 10.0 | 0.40 (0.25 to 0.50) |'
  )


PROGRAM = """
import time
print('before', flush=True)
print('step 1/1  loss 3', flush=True)
time.sleep(3)
"""


def test_the_clock_stops_at_the_line_or_at_the_end():
  command = [sys.executable, '-c', PROGRAM]
  line, end = (start_up.seconds_until(command, x) for x in ('step 1/', None))
  assert 0 < line < 3 <= end


def test_a_command_that_fails_or_never_says_it_is_no_measurement(capfd):
  with pytest.raises(UserError, match='its own words are above'):
    start_up.seconds_until(
      [sys.executable, '-c', 'print("sorry"); raise SystemExit(3)']
    )
  assert capfd.readouterr().err.strip() == 'sorry'
  with pytest.raises(UserError):
    start_up.seconds_until([sys.executable, '-c', 'print("hello")'], 'step 1/')
  assert capfd.readouterr().err.strip() == 'hello'

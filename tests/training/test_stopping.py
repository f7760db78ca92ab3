"""The first signal is noted; the second ends the process, whatever it does."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from vivit_jax.training import stopping

ROOT = pathlib.Path(__file__).parents[2]
# A call of C that lasts, without Python's lock, and that no signal breaks off:
# as XLA's compiler.
BUSY = """
import hashlib
from vivit_jax.training import stopping
with stopping.signals() as signalled:
  print('ready', flush=True)
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)
"""


def test_the_first_signal_is_returned_and_handlers_are_restored():
  handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
  wakeup = signal.set_wakeup_fd(-1)
  signal.set_wakeup_fd(wakeup)
  for which in (signal.SIGINT, signal.SIGTERM):
    with stopping.signals() as signalled:
      assert signalled() == 0
      os.kill(os.getpid(), which)
      assert signalled() == which
  after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
  assert after == handlers
  assert signal.set_wakeup_fd(wakeup) == wakeup


@pytest.mark.slow
@pytest.mark.parametrize(
  'first, second, code',
  [
    (signal.SIGTERM, signal.SIGTERM, 143),
    (signal.SIGTERM, signal.SIGINT, 130),
  ],
)
def test_the_second_signal_ends_a_process_in_c(first, second, code):
  process = subprocess.Popen(
    [sys.executable, '-c', BUSY],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(first)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(second)
    _, err = process.communicate(timeout=60)
  finally:
    process.kill()
  assert process.returncode == code and err.strip() == 'interrupted'

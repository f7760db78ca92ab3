"""Real processes that differ, are late, end by a mistake, or die."""

import re
import socket
import subprocess
import sys

import pytest
import simulated

MEET = """
import os, sys, time
import jax
from vivit_jax import commands, distributed, parallel, peers
from vivit_jax.errors import UserError, exit_on_user_error
me = int(sys.argv[2])
distributed.initialise(sys.argv[1], 2, me)
"""
DIFFER = """
with exit_on_user_error(at_once=True):
  try:
    peers.check_same('config', {'a': 1, 'b': (2, 'x'), 'seed': 7 * me})
  except UserError as error:
    commands._tell_others(error)
    raise
"""
SAME = """
peers.check_same('config', {'a': 1, 'b': (2, 'x')})
peers.check_same('dataset', {'a': 2})
"""
LATE = """
time.sleep(40 * me)
peers.wait_for_all('training')
x = jax.block_until_ready(parallel.most_anywhere(me + 5))
print('most', int(x.addressable_data(0)[0]), file=sys.stderr)
"""
MISTAKE = """
if me == who:
  with exit_on_user_error(at_once=True):
    peers.tell_end('no such file.')
    raise UserError('no such file.')
time.sleep(100)
"""
DIES = """
if me == who:
  time.sleep(5)  # so that it has given signs of life
  os._exit(9)
time.sleep(100)
"""
LOST = """
try:
  parallel.most_anywhere(0).block_until_ready()
  time.sleep(5)
  if me == 1:
    os._exit(9)
  parallel.most_anywhere(0).block_until_ready()
except Exception as error:
  peers.end_after(error)
"""


def run(script, who=0):
  """Returns the exit code and standard error of each of two processes."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', f'{MEET}\nwho = {who}\n{script}', address, n],
      env=simulated.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for n in ('0', '1')
  ]
  try:
    errors = [process.communicate(timeout=200)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(p.returncode, err) for p, err in zip(processes, errors)]


def sentences(err):
  return [line for line in err.splitlines() if line.startswith('error: ')]


@pytest.mark.slow
def test_processes_that_differ_name_the_one_and_the_key():
  expected = (
    'error: the processes of the run differ in config: seed is 7 in process 1 '
    'and 0 in process 0. Start all by the same command.'
  )
  for code, err in run(DIFFER):
    assert (code, sentences(err)) == (2, [expected]), err


@pytest.mark.slow
def test_processes_that_do_not_differ_go_on():
  for code, err in run(SAME):
    assert (code, sentences(err)) == (0, []), err


@pytest.mark.slow
def test_one_that_is_late_is_waited_for():
  """Where a collective alone would give up after 30 s, on CPUs."""
  for code, err in run(LATE):
    assert code == 0 and 'most 6' in err, err


@pytest.mark.slow
@pytest.mark.parametrize('who', [0, 1])
def test_a_mistake_of_one_ends_the_other_with_its_words(who):
  ended = run(MISTAKE, who)
  assert ended[who][0] == 2 and sentences(ended[who][1]) == [
    'error: no such file.'
  ]
  code, err = ended[1 - who]
  words = f'error: process {who} of the run has ended: no such file.'
  assert (code, sentences(err)) == (2, [words]), err


@pytest.mark.slow
@pytest.mark.parametrize(
  'script, who, words',
  [
    (DIES, 0, '^error: process 0 of the run has died: .* last checkpoint'),
    (DIES, 1, '^warning: process 1 of the run has given no sign of life'),
    (LOST, 1, '^error: process 1 of the run has died: .* last checkpoint'),
  ],
)
def test_one_that_dies_is_named_in_a_line(script, who, words):
  """At work for itself, jax ends the other; in a collective, we do."""
  code, err = run(script, who)[1 - who]
  assert code not in (0, None)
  assert len(re.findall(words, err, re.MULTILINE)) == 1, err


@pytest.mark.slow
@pytest.mark.parametrize('number', [0, 1])
def test_one_alone_gives_up_with_a_sentence(number):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  script = (
    'from vivit_jax import distributed\n'
    'distributed._MEETING_SECONDS = 3\n'
    f"distributed.initialise('{address}', 2, {number})"
  )
  ended = subprocess.run(
    [sys.executable, '-c', script],
    env=simulated.environment(),
    stderr=subprocess.PIPE,
    text=True,
    timeout=200,
  )
  assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
  words = f'do not find each other: process {number} has waited for 3 s at'
  assert words in ended.stderr

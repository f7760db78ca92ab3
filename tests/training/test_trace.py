"""A trace has the whole of its steps, and of no others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.training.trace import Trace

LOOPS = 10


def run(trace, begin, end):
  """Makes steps with one in flight, as the trainer does."""
  step = jax.pmap(
    lambda x: jax.lax.fori_loop(0, LOOPS, lambda _, x: jnp.tanh(x @ x), x),
    donate_argnums=(0,),
  )
  x = jax.block_until_ready(step(np.eye(200, dtype=np.float32)[None]))
  for number in range(begin + 1, end + 1):
    trace.before(number, x)
    x = step(x)
    trace.after(number, x)
  trace.close()


def steps_in(folder):
  """Returns how many steps the trace's operations are of."""
  (file,) = folder.rglob('*.xplane.pb')
  trace = jax.profiler.ProfileData.from_file(str(file))
  names = [
    event.name
    for plane in trace.planes
    for line in plane.lines
    for event in line.events
  ]
  return sum(name == 'wrapped_tanh' for name in names) / LOOPS


@pytest.mark.parametrize(
  'begin, end, words, count',
  [
    (0, 8, 'steps 3 to 5', 3),
    (3, 8, 'steps 4 to 5', 2),  # goes on within them
    (0, 4, 'steps 3 to 4', 2),  # ends within them
  ],
)
def test_the_steps_of_a_trace(tmp_path, capsys, begin, end, words, count):
  run(Trace(tmp_path, 3, 3, begin, end), begin, end)
  assert f'the trace of {words} is in {tmp_path}' in capsys.readouterr().out
  assert steps_in(tmp_path) == count


@pytest.mark.parametrize(
  'first, begin, end, words',
  [(3, 0, 2, 'steps 3 to 5'), (3, 5, 8, 'steps 3 to 5'), (0, 0, 4, '')],
)
def test_without_a_traced_step(tmp_path, capsys, first, begin, end, words):
  run(Trace(tmp_path, first, 3, begin, end), begin, end)
  out = capsys.readouterr().out
  assert words in out and bool(out) == bool(words)
  assert not list(tmp_path.iterdir())


def test_a_trace_waits_at_both_ends(tmp_path, monkeypatch):
  """Whatever the profiler calls operations."""
  calls = []

  class State:
    def __init__(self, step):
      self.step = step

    def block_until_ready(self):
      calls.append(f'wait {self.step}')

  monkeypatch.setattr(jax.profiler, 'start_trace', lambda _: calls.append('on'))
  monkeypatch.setattr(jax.profiler, 'stop_trace', lambda: calls.append('off'))
  trace = Trace(tmp_path, 3, 2, 0, 9)
  for step in range(1, 10):
    trace.before(step, State(step - 1))
    trace.after(step, State(step))
  assert calls == ['wait 2', 'on', 'wait 4', 'off']

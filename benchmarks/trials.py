"""What each optimisation gains, alone, against what it replaces.

  python -m benchmarks.trials
  python -m benchmarks.trials --only qkv tubelets --rounds=21

Both forms of a part of the model (`benchmarks.tried`) run by turns in this
process, on the device that JAX finds; a ratio below 1 says that the form that
was tried is faster. What was expected, and whether it was kept, is written
beside it.
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.flags import at_least
from benchmarks.tried import TRIALS, Form, Trial
from vivit_jax import parallel
from vivit_jax.commands import end_at_once
from vivit_jax.errors import exit_on_user_error

Run = Callable[[], float]  # computes once, and returns the seconds


def rows(names: Sequence[str], rounds: int) -> Iterator[str]:
  """Yields the lines of a table in Markdown."""
  heads = ('tried', 'expected', 'forward: tried / before', 'and back', 'kept')
  yield f'| {" | ".join(heads)} |'
  yield '|---' * len(heads) + '|'
  for name in names:
    trial = TRIALS[name]
    forward, back = _ratios(trial, rounds)
    cells = (trial.what, trial.expected, forward, back, trial.kept)
    yield f'| {" | ".join(cells)} |'


def _ratios(trial: Trial, rounds: int) -> tuple[str, str]:
  if trial.backend not in (None, jax.default_backend()):
    return f'no {trial.backend.upper()} here', ''
  forms = trial.forms()
  if trial.memory:
    return '', f'{memory_ratio(forms):.2f} of the memory'
  programs = [*forms]
  if trial.training:
    programs += [(_derivative(*form), form[1]) for form in forms]
  with futures.ThreadPoolExecutor() as pool:
    runs = list(pool.map(_compiled, programs))
  back = ratio(runs[2:], rounds) if trial.training else ''
  return ratio(runs[:2], rounds), back


def memory_ratio(forms: Sequence[Form]) -> float:
  """Returns the ratio of the bytes that jitted forms need, by XLA."""
  tried, before = (
    parallel.compiled(function, *inputs)[1] for function, inputs in forms
  )
  return tried / before


def _derivative(function: Callable, arguments: Sequence[Any]) -> Callable:
  places = tuple(range(len(arguments)))
  return jax.grad(lambda *x: jnp.sum(function(*x) ** 2), places)


def _compiled(form: Form) -> Run:
  """Returns what computes a form once, and says the seconds."""
  function, arguments = form
  compiled = jax.jit(function).lower(*arguments).compile()

  def run():
    begin = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - begin

  return run


def ratio(runs: Sequence[Run], rounds: int) -> str:
  """Returns the ratio of the first one's time to the second's, as a cell."""
  tried, before = runs
  tried(), before()  # not counted
  ratios = [tried() / before() for _ in range(rounds)]
  quarters = statistics.quantiles(ratios, n=4)
  return f'{quarters[1]:.2f} ({quarters[0]:.2f} to {quarters[2]:.2f})'


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--only', nargs='+', choices=TRIALS, default=[*TRIALS])
  parser.add_argument(
    '--rounds', type=at_least(2), default=11, help='at least 2 (11)'
  )
  arguments = parser.parse_args(argv)
  for line in rows(arguments.only, arguments.rounds):
    print(line, flush=True)
  print('\nMedians of rounds by turns, and quartiles.')


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    main(sys.argv[1:])

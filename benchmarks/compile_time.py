"""How long tracing and compiling a training step takes.

  python -m benchmarks.compile_time
  python -m benchmarks.compile_time --rounds=5

The factorised encoder in sizes B and L (12 and 24 spatial layers, 4 temporal
ones), 32 x 224 x 224, with stacked blocks and with blocks one by one: a bare
step, of model, loss and momentum. Then the whole step of the K400 configs, as
train.py compiles it, of so many layers. All are traced and compiled by turns,
once a round, with jax's caches emptied before and no cache on disk; a first
compilation is not counted. Nothing is run.
"""

import argparse
import functools
import gc
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from benchmarks import contestants, markdown, whole_step
from benchmarks.flags import at_least
from vivit_jax.commands import end_at_once
from vivit_jax.errors import exit_on_user_error

_WHOLE = "train.py's"
# What is divided by what, and the goal.
_RATIOS = (
  (('stacked', 'L'), ('stacked', 'B'), '<= 1.3'),
  (('stacked', 'L'), ('unrolled', 'L'), '<= 0.25'),
  ((f'{_WHOLE} stacked', 'L'), (f'{_WHOLE} stacked', 'B'), '<= 1.3'),
  ((f'{_WHOLE} stacked', 'L'), (f'{_WHOLE} unrolled', 'L'), '<= 0.25'),
)

Case = tuple[str, str]  # form and size
Trace = Callable[[], Any]  # returns a step lowered, for `compile`
Seconds = tuple[float, float]  # of tracing and of compiling


def _bare(contestant: str, size: str, **options: Any) -> Trace:
  """Returns what traces and lowers a contestant's step."""
  arguments = contestants.with_defaults(size=size, **options)
  program = contestants.PROGRAMS[contestant](arguments)
  return program.traceable('step', arguments)


def _whole(size: str, scan: bool) -> Trace:
  """Returns what traces and lowers the step of a K400 config."""
  changes = {'model.scan': scan, 'model.options.temporal_layers': 4}
  name = f'k400_{size.lower()}16x2_fe'
  update, *shapes = whole_step.of(whole_step.changed(name, 1, changes))
  return functools.partial(update.lower, *shapes)


_CASES: Mapping[Case, Callable[[], Trace]] = {
  ('stacked', 'B'): functools.partial(_bare, 'ours', 'B', scan=True),
  ('stacked', 'L'): functools.partial(_bare, 'ours', 'L', scan=True),
  ('unrolled', 'L'): functools.partial(_bare, 'ours', 'L'),
  (f'{_WHOLE} stacked', 'B'): functools.partial(_whole, 'B', True),
  (f'{_WHOLE} stacked', 'L'): functools.partial(_whole, 'L', True),
  (f'{_WHOLE} unrolled', 'L'): functools.partial(_whole, 'L', False),
}


def compile_anew(build: Callable[[], Trace]) -> Seconds:
  """Traces and compiles a training step that jax does not remember.

  Args:
    build: makes the step; not counted.
  """
  jax.clear_caches()
  gc.collect()
  trace = build()
  begin = time.perf_counter()
  traced = trace()
  middle = time.perf_counter()
  traced.compile()
  return middle - begin, time.perf_counter() - middle


def measure(rounds: int) -> Mapping[Case, Sequence[Seconds]]:
  """Returns the rounds' seconds by form and size."""
  found: dict[Case, list[Seconds]] = {case: [] for case in _CASES}
  compile_anew(_CASES['stacked', 'B'])  # not counted
  for number in range(rounds):
    for (form, size), build in _CASES.items():
      seconds = compile_anew(build)
      found[form, size].append(seconds)
      print(
        f'round {number + 1}: {form} {size}: {sum(seconds):.1f} s',
        file=sys.stderr,
        flush=True,
      )
  return found


def times(
  found: Mapping[Case, Sequence[Seconds]],
) -> Iterator[tuple[str, ...]]:
  """Yields medians in seconds: of tracing, of compiling, of both."""
  for (form, size), rounds in found.items():
    columns = (*zip(*rounds), [sum(seconds) for seconds in rounds])
    medians = (f'{statistics.median(column):.2f}' for column in columns)
    yield f'{form}, {size}', *medians


def ratios(
  found: Mapping[Case, Sequence[Seconds]],
) -> Iterator[tuple[str, ...]]:
  """Yields the rounds' ratios, and whether their medians reach the goals."""
  for above, below, bound in _RATIOS:
    above_s, below_s = (
      [sum(seconds) for seconds in found[form]] for form in (above, below)
    )
    median = statistics.median(a / b for a, b in zip(above_s, below_s))
    yield (
      f'{", ".join(above)} / {", ".join(below)}',
      markdown.ratio(above_s, below_s),
      markdown.goal(median, bound),
    )


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add('--rounds', type=at_least(1), default=3, help='of all compilations (3)')
  flags = parser.parse_args(argv)
  jax.config.update('jax_enable_compilation_cache', False)
  print(
    'Tracing and compiling a training step of the factorised encoder, seconds, '
    f'medians of {flags.rounds} rounds ({jax.default_backend()}).\n'
  )
  found = measure(flags.rounds)
  print(markdown.table(('', 'trace', 'compile', 'both'), times(found)))
  print()
  header = ('ratio', 'median (rounds)', 'goal')
  print(markdown.table(header, ratios(found)), flush=True)


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    main(sys.argv[1:])

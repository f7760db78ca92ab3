"""How long compiling a training step takes, and what the program copies.

  python -m benchmarks.compile_time
  python -m benchmarks.compile_time --rounds=5 --copies_of joint

The factorised encoder in sizes B and L (12 and 24 spatial layers, 4 temporal
ones), 32 x 224 x 224, with stacked blocks, with blocks one by one, and in the
reference's form (`benchmarks.plain`): a bare step, of model, loss and momentum.
Then the whole step of the K400 configs, as train.py compiles it, of so many
layers. All are traced and compiled by turns, once a round, with jax's caches
emptied before and no cache on disk; a first compilation is not counted. Then
the copies and transposes that XLA leaves in the compiled programs of Models 1
to 4 in size B. Nothing is run.
"""

import argparse
import functools
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax

from benchmarks import contestants, instructions, markdown, whole_step
from vivit_jax import models

_OPCODES = ('copy', 'transpose')
_WHOLE = "train.py's"
# What is divided by what, and the goal.
_RATIOS = (
  (('stacked', 'L'), ('stacked', 'B'), '<= 1.3'),
  (('stacked', 'L'), ('unrolled', 'L'), '<= 0.25'),
  (('stacked', 'L'), ('plain', 'L'), '<= 0.25'),
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
  changes = {'model.scan': scan, 'model.temporal_layers': 4}
  name = f'k400_{size.lower()}16x2_fe'
  update, *shapes = whole_step.of(whole_step.changed(name, 1, changes))
  return functools.partial(update.lower, *shapes)


_CASES: Mapping[Case, Callable[[], Trace]] = {
  ('stacked', 'B'): functools.partial(_bare, 'ours', 'B', scan=True),
  ('stacked', 'L'): functools.partial(_bare, 'ours', 'L', scan=True),
  ('unrolled', 'L'): functools.partial(_bare, 'ours', 'L'),
  ('plain', 'L'): functools.partial(_bare, 'plain', 'L'),
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


def copies(families: Sequence[str]) -> Iterator[tuple[str, ...]]:
  """Yields rows of `_COPIES`: ours, one by one, and the reference's form."""
  for family in families:
    for what in ('forward', 'step'):
      print(f'{family}, {what}', file=sys.stderr, flush=True)
      with futures.ThreadPoolExecutor() as pool:
        counted = pool.map(
          functools.partial(_copies, family, what), ('ours', 'plain')
        )
      cells = [cell for cells in counted for cell in cells]
      number = 1 + list(models.FAMILIES).index(family)
      yield f'{number} {family.replace("_", " ")}', what, *cells


def _copies(family: str, what: str, contestant: str) -> list[str]:
  """Returns numbers and megabytes, of copies and of transposes."""
  arguments = contestants.with_defaults(family=family)
  program = contestants.PROGRAMS[contestant](arguments)
  text = program.trace(what, arguments).compile().as_text()
  cells = []
  for moved in instructions.count(text, *_OPCODES).values():
    cells += [str(moved.count), f'{moved.moved / 1e6:.0f}']
  return cells


_COPIES = (
  'model',
  'program',
  *(
    f'{name}: {opcode}'
    for name in ('ours', 'plain')
    for opcode in ('copies', 'MB', 'transposes', 'MB')
  ),
)


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add('--rounds', type=int, default=3, help='of all compilations (3)')
  add(
    '--copies_of',
    nargs='*',
    default=list(models.FAMILIES),
    choices=models.FAMILIES,
    help='models whose copies are counted (all); none: no such table',
  )
  flags = parser.parse_args(argv)
  if flags.rounds < 1:
    parser.error('--rounds is at least 1')
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
  if flags.copies_of:
    print(
      '\nInstructions of the compiled programs, those in fusions too, and the '
      'bytes of their results in one run, size B, unrolled, batch 1, float32. '
      'A transpose may be of the layout alone; a copy moves bytes. Ours copies '
      'the pixels into tubelets, 19 MB, which a convolution reads in place.\n'
    )
    print(markdown.table(_COPIES, copies(flags.copies_of)), flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])

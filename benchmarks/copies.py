"""What XLA's compiled programs copy and transpose, in megabytes.

  python -m benchmarks.copies
  python -m benchmarks.copies --families joint

The forward pass and the training step of Models 1 to 4, ours and in the
reference's form (`benchmarks.plain`), are compiled and counted. Nothing is run.
"""

import argparse
import functools
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures

from benchmarks import contestants, instructions, markdown
from vivit_jax.commands import end_at_once
from vivit_jax.errors import exit_on_user_error
from vivit_jax.models import family as families

_OPCODES = ('copy', 'transpose')
_COMPARED = ('ours', 'plain')
_HEADER = (
  'model',
  'program',
  *(
    f'{name}: {opcode}'
    for name in _COMPARED
    for opcode in ('copies', 'MB', 'transposes', 'MB')
  ),
)


def rows(families: Sequence[str]) -> Iterator[tuple[str, ...]]:
  """Yields a row of each program of each model."""
  for family in families:
    for what in ('forward', 'step'):
      print(f'{family}, {what}', file=sys.stderr, flush=True)
      with futures.ThreadPoolExecutor() as pool:
        counted = pool.map(functools.partial(_cells, family, what), _COMPARED)
      cells = [cell for cells in counted for cell in cells]
      yield contestants.title(family), what, *cells


def _cells(family: str, what: str, contestant: str) -> list[str]:
  """Returns numbers and megabytes, of copies and of transposes."""
  arguments = contestants.with_defaults(family=family)
  program = contestants.PROGRAMS[contestant](arguments)
  text = program.trace(what, arguments).compile().as_text()
  cells = []
  for moved in instructions.count(text, *_OPCODES).values():
    cells += [str(moved.count), f'{moved.moved / 1e6:.0f}']
  return cells


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  known = list(families.every())
  parser.add_argument(
    '--families', nargs='+', default=known, choices=known, help='(all)'
  )
  flags = parser.parse_args(argv)
  print(
    'Instructions of the compiled programs, those in fusions too, and the '
    'bytes of their results in one run, size B, unrolled, batch 1, float32. '
    'A transpose may be of the layout alone; a copy moves bytes. Ours copies '
    'the pixels into tubelets, 19 MB, which a convolution reads in place.\n'
  )
  print(markdown.table(_HEADER, rows(flags.families)))


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    main(sys.argv[1:])

"""A forward pass and a training step, against the reference's form and torch's.

  python -m benchmarks.train_step --family=joint --size=B --batch=1
  python -m benchmarks.train_step --torch_python=PATH/python --what forward

Each contestant has a process of its own (`benchmarks.contestants`); they run by
turns, once a round, so that what slows the machine slows all. `plain` is the
same model written in the reference's way, `torch` transformers' ViViT with
fused attention, for the joint model where torch is installed.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import contestants, machine, markdown
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error
from vivit_jax.models import arithmetic

_ROOT = pathlib.Path(__file__).parent.parent
# Contestants share a GPU's memory, of which jax would take most at once.
_ENVIRONMENT = {
  'TRANSFORMERS_VERBOSITY': 'error',
  'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
}
# Torch would heed them alone.
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')


class Contestant:
  """A process that computes when it is told to.

  Attributes:
    name: of `contestants.CONTESTANTS`.
    about: what it said when it was ready.
    seconds: of each run, by what was run.
    peak: the most memory that the process has had, bytes.
  """

  def __init__(self, name: str, python: str, flags: Sequence[str]):
    self.name = name
    self.seconds: dict[str, list[float]] = {}
    self.peak = 0
    given = {k: v for k, v in os.environ.items() if k not in _THREADS}
    self._process = subprocess.Popen(
      [python, '-m', 'benchmarks.contestants', name, *flags],
      cwd=_ROOT,
      env=_ENVIRONMENT | given,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.about = self._read()

  def run(self, what: str) -> None:
    """Runs 'forward' or 'step' once."""
    self._process.stdin.write(f'{what}\n')
    self._process.stdin.flush()
    answer = self._read()
    self.seconds.setdefault(what, []).append(answer['seconds'])
    self.peak = answer['peak']

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()

  def _read(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    if not line:
      raise UserError(
        f'{self.name} ended with code {self._process.wait()}; its own words '
        'are above.'
      )
    return json.loads(line)


def measure(
  arguments: argparse.Namespace, flags: Sequence[str]
) -> list[Contestant]:
  """Runs all contestants by turns; the first round is not counted."""
  with contextlib.ExitStack() as stack:
    found = []
    for name, python in _entrants(arguments):
      found.append(Contestant(name, python, flags))
      stack.callback(found[-1].close)
    if not found:
      raise UserError('nothing of --against can be run here.')
    for counted in [False] + [True] * arguments.rounds:
      for what in arguments.what:
        for contestant in found:
          contestant.run(what)
          if not counted:
            contestant.seconds.clear()
  return found


def _entrants(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
  for name in arguments.against:
    python = sys.executable
    if name == 'torch':
      if arguments.family != 'joint':
        continue  # transformers has Model 1 alone
      if arguments.torch_python:
        python = arguments.torch_python
      elif not importlib.util.find_spec('transformers'):
        print('torch: left out, transformers is not installed', file=sys.stderr)
        continue
    yield name, python


def table(found: Sequence[Contestant], whats: Sequence[str]) -> Iterator[str]:
  """Yields lines of a table in Markdown: medians, and the first's ratios."""
  first = found[0].name
  heads = [f'{what}, ms | {first} / it (rounds)' for what in whats]
  yield f'| | {" | ".join(heads)} | compile, s | XLA memory, MB | peak MB |'
  yield '|---' * (2 * len(heads) + 4) + '|'
  for contestant in found:
    cells = [contestant.name]
    for what in whats:
      mine = contestant.seconds[what]
      cells.append(f'{1e3 * statistics.median(mine):.0f}')
      cells.append(markdown.ratio(found[0].seconds[what], mine))
    about = contestant.about
    cells.append(_joined(about, whats, 'compile', 1.0, 1))
    cells.append(_joined(about, whats, 'memory', 1e-6, 0))
    cells.append(f'{contestant.peak / 1e6:.0f}')
    yield f'| {" | ".join(cells)} |'


def _joined(
  about: dict[str, Any],
  whats: Sequence[str],
  key: str,
  unit: float,
  digits: int,
) -> str:
  values = [about.get(f'{what} {key}') for what in whats]
  return ', '.join(
    '' if value is None else f'{value * unit:.{digits}f}' for value in values
  ).strip(', ')


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  contestants.define(parser)
  shared = {action.dest for action in parser._actions}
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument(
    '--against',
    nargs='+',
    default=['ours', 'plain', 'torch'],
    choices=contestants.CONTESTANTS,
    help='the first is what the others are compared with',
  )
  parser.add_argument(
    '--torch_python', help='an interpreter that has torch and transformers'
  )
  arguments = parser.parse_args(argv)
  operations = check(arguments)
  arguments.dimensions = list(contestants.dimensions(arguments.size))
  flags = []
  for name, value in vars(arguments).items():
    if name not in shared or value is None or value is False:
      continue
    flags.append(f'--{name}')
    if value is not True:
      values = value if isinstance(value, list) else [value]
      flags += [str(one) for one in values]
  found = measure(arguments, flags)
  print('\n'.join(table(found, arguments.what)))
  for contestant in found:
    if threads := contestant.about.get('threads'):
      print(f'\n{contestant.name} has computed with {threads} threads.')
  # Products are the libraries', of which nothing is asked.
  judged = [what for what in arguments.what if what != 'product']
  if len(found) > 1 and judged:
    print(f'\n{verdict(found, judged)}')
  for name, share in utilisation(found, operations):
    # A paragraph each: the table ends at an empty line.
    print(f'\n{name}: {share:.1%} MFU (3 forward passes a step, of bfloat16)')


def verdict(found: Sequence[Contestant], whats: Sequence[str]) -> str:
  """Returns whether the first is as fast as each of the others, and what not.

  By medians of the rounds' ratios, rounded as the table shows them.
  """
  first, *others = found
  behind = []
  for other in others:
    for what in whats:
      pairs = zip(first.seconds[what], other.seconds[what])
      ratio = statistics.median(a / b for a, b in pairs)
      if round(ratio, 2) > 1.0:
        behind.append(f'{what} against {other.name}')
  missed = f'missed: {", ".join(behind)}' if behind else 'reached'
  return f'Goal, {first.name} at most 1.00 of each other: {missed}.'


def check(arguments: argparse.Namespace) -> int:
  """Returns the operations of a step, before a process is started.

  Three forward passes; a multiply-add is two operations.

  Raises:
    UserError: what cannot be run.
  """
  for name in ('rounds', 'batch', 'frames', 'crop', 'classes', 'layers'):
    given = getattr(arguments, name)
    if given is not None and given < 1:
      raise UserError(f'--{name} is {given}; at least 1.')
  if unknown := set(arguments.what) - set(contestants.WHATS):
    known = ', '.join(contestants.WHATS)
    raise UserError(f"--what is '{unknown.pop()}'; known are {known}.")
  machine.check_python(arguments.torch_python)
  if arguments.attention == 'cudnn' and not machine.gpu():
    raise UserError('--attention=cudnn is for GPUs, and jax sees none here.')
  contestants.check_tubelets(arguments)
  config, crop = contestants.our_config(arguments), (arguments.crop,) * 2
  one = arithmetic.forward_multiply_adds(config, arguments.frames, crop)
  return 3 * 2 * arguments.batch * one


def utilisation(
  found: Sequence[Contestant], operations: int
) -> Iterator[tuple[str, float]]:
  """Yields names and the model FLOPs utilisation, where it is known."""
  for contestant in found:
    peak = arithmetic.peak_operations(contestant.about['device'])
    if peak and 'step' in contestant.seconds:
      seconds = statistics.median(contestant.seconds['step'])
      yield contestant.name, operations / seconds / peak


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    main(sys.argv[1:])

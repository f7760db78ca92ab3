"""Shared by all benchmarks: flags, alternating runs, ratios, CPU and memory."""

import operator
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from vivit_jax import processes
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

_FILL_SECONDS = 1.5  # for prefetch buffers to fill
_ENDED = 'a measuring process was killed; is memory short?'
_RELATIONS = {'<': operator.lt, '<=': operator.le, '>=': operator.ge}

Name = TypeVar('Name')
Result = TypeVar('Result')


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs a command; user errors and Ctrl-C end it without a traceback."""
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    main(sys.argv[1:])


def parse(
  argv: Sequence[str], define: Callable[[flags.FlagValues], None], usage: str
) -> types.SimpleNamespace:
  """Returns the values of a command's flags; --help prints them and exits.

  Args:
    argv: the arguments, without the program's name.
    define: defines the flags in a FlagValues.
    usage: text above the flags in --help.

  Raises:
    UserError: a flag is unknown, a value is invalid, or an argument is not a
      flag.
  """
  values = flags.FlagValues()
  flags.DEFINE_boolean('help', False, 'Print this.', flag_values=values)
  define(values)
  try:
    rest = values(['benchmark', *argv])
  except flags.Error as error:
    raise UserError(str(error)) from None
  if len(rest) > 1:
    raise UserError(f"'{rest[1]}' is not a flag; flags begin with --.")
  if values.help:
    print(f'{usage.strip()}\n{values.get_help()}')
    sys.exit()
  return types.SimpleNamespace(**values.flag_values_dict())


def define_counts(
  values: flags.FlagValues, **counts: tuple[int | None, str]
) -> None:
  """Defines flags for integers of at least 1, from name=(default, help)."""
  for name, (default, text) in counts.items():
    flags.DEFINE_integer(name, default, text, 1, flag_values=values)


def define_choices(
  values: flags.FlagValues,
  name: str,
  choices: Iterable[str],
  default: Iterable[str] | None = None,
) -> None:
  """Defines a flag for a comma-separated list; by default all choices."""
  choices = list(choices)
  default = choices if default is None else list(default)
  text = f'A comma-separated list of {", ".join(choices)}.'
  flags.DEFINE_list(name, default, text, flag_values=values)
  flags.register_validator(
    name, lambda given: set(given) <= set(choices), text, flag_values=values
  )


def by_turns(
  runs: Mapping[Name, Callable[[], Result]], rounds: int, warm_up: bool = False
) -> dict[Name, list[Result]]:
  """Calls every function once per round; returns the results by name.

  So if the machine is slow for a while, all functions are slow. Every second
  round runs in reverse order. Results of the warm-up round are discarded.
  """
  results = {name: [] for name in runs}
  for number in range(1 - warm_up, rounds + 1):
    for name in list(runs) if number % 2 else reversed(runs):
      print(f'round {number}: {name}', file=sys.stderr, flush=True)
      results[name].append(runs[name]())
  return {name: values[int(warm_up) :] for name, values in results.items()}


def timed(run: Callable[[], Any]) -> float:
  """Returns the seconds that a call of a function takes."""
  begin = time.perf_counter()
  run()
  return time.perf_counter() - begin


def ratio(
  above: Sequence[float], below: Sequence[float], goal: str | None = None
) -> str:
  """Returns above / below as 'median (min to max)' over the rounds.

  With a goal for the median, such as '<= 0.25', adds whether it is reached.
  """
  ratios = [a / b for a, b in zip(above, below, strict=True)]
  median = statistics.median(ratios)
  text = f'{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})'
  if goal is None:
    return text
  relation, limit = goal.split()
  reached = _RELATIONS[relation](round(median, 2), float(limit))
  return f'{text}, goal {goal}: {"reached" if reached else "missed"}'


def median(values: Sequence[float], digits: int = 1) -> str:
  """Returns the median as a table cell."""
  return f'{statistics.median(values):.{digits}f}'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a Markdown table with a newline at the end."""
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines) + '\n'


def apart(
  function: Callable[..., Result],
  *arguments: Any,
  cores: Sequence[int] | None = None,
) -> Result:
  """Calls a function in a new process; `cores`, if given, are where it runs."""
  with processes.pool(1, _ENDED, _begin, (cores,)) as pool:
    with processes.defer_sigint():
      waiting = pool.submit(function, *arguments)
    return waiting.result()


def _begin(cores: Sequence[int] | None) -> None:
  processes.init_worker()
  if cores is not None:
    os.sched_setaffinity(0, cores)


def stream(
  batches: Iterator[Any],
  batch_size: int,
  *,
  seconds: float,
  warm_batches: int,
  warm_seconds: float = 0.0,
) -> dict[str, float]:
  """Measures a stream of batches after a warm-up.

  `seconds`, `warm_batches` and `warm_seconds` are minimums.

  Returns:
    'clips/s'; 'CPU ms/clip' of this process and its descendants; and on Linux
    their 'MB memory' with full buffers, shared pages counted once (PSS).
  """
  import psutil  # not needed by other benchmarks

  begin = time.perf_counter()
  while warm_batches > 0 or time.perf_counter() - begin < warm_seconds:
    next(batches)
    warm_batches -= 1
  this = psutil.Process()
  members = [this, *this.children(recursive=True)]
  used = _cpu_seconds(members)
  begin, clips, passed = time.perf_counter(), 0, 0.0
  while passed < seconds:
    next(batches)
    clips += batch_size
    passed = time.perf_counter() - begin
  used = _cpu_seconds(members) - used
  time.sleep(_FILL_SECONDS)
  results = {'clips/s': clips / passed, 'CPU ms/clip': 1e3 * used / clips}
  if psutil.LINUX:
    bytes_used = sum(member.memory_full_info().pss for member in members)
    results['MB memory'] = bytes_used / 1e6
  return results


def _cpu_seconds(members: Iterable[Any]) -> float:
  times = [member.cpu_times() for member in members]
  return sum(used.user + used.system for used in times)

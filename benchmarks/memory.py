"""Memory (as XLA reports it) and compile time of a training step.

  python -m benchmarks.memory
  python -m benchmarks.memory --tables=fits --configs=k400_l16x2_fe

Steps are compiled, not run. There are three tables:

  plain    temporary memory of our step with stacked blocks and remat, against
           the plain model. Arguments (parameters, momentum and clips) are not
           included.
  fits     the largest batch per device for train.py's step of a K400 config,
           with stacked blocks, bfloat16 computation and float32 parameters.
           Figures from a CPU are estimates: accelerators choose other layouts
           and fusions. (Blocks are stacked, because XLA on a CPU undoes the
           remat of unrolled blocks.)
  compile  seconds to trace and to compile train.py's step, stacked and
           unrolled, for the sizes --size and --larger
"""

import functools
import sys
import time
import types
from collections.abc import Mapping, Sequence

import jax
from absl import flags

from benchmarks import measure, programs
from vivit_jax import machine, parallel
from vivit_jax.errors import UserError
from vivit_jax.models.sizes import SIZES

_CONFIGS = (*programs.CONFIGS.values(), 'k400_l16x2_fe')
_DEVICES = (16, 24, 40, 80)  # memory of a device in GB, 1e9 bytes
_CLIPS = (1, 8, 16)  # batch sizes to compile steps for


def _step_bytes(name: str, args: types.SimpleNamespace, **options) -> tuple:
  """Returns the temporary bytes and the argument bytes of a bare step."""
  step, shapes = programs.bare(name, args, **options)[1]['step']
  held = step.lower(*shapes).compile().memory_analysis()
  return held.temp_size_in_bytes, held.argument_size_in_bytes


def compare_with_plain(args: types.SimpleNamespace) -> str:
  """Returns the table of temporary memory per family."""
  rows = []
  for family in args.families:
    print(f'plain: {family}', file=sys.stderr, flush=True)
    one = types.SimpleNamespace(**vars(args) | {'family': family})
    stacked = _step_bytes('ours', one, scan=True, remat='full')
    unrolled, plain = _step_bytes('ours', one), _step_bytes('plain', one)
    # The goal is a fifth for the longest sequence, 3137 tokens.
    full = (family, args.frames, args.crop) == ('joint', 32, 224)
    rows.append(
      (
        family,
        *(f'{x / 1e6:.1f}' for x in (stacked[1], stacked[0], unrolled[0])),
        f'{plain[0] / 1e6:.1f}',
        measure.ratio(stacked[:1], plain[:1], '<= 0.2' if full else '< 1'),
        measure.ratio([sum(stacked)], [sum(plain)]),
      )
    )
  header = 'MB', 'arguments', 'stacked, remat full', 'unrolled', 'plain'
  return measure.table((*header, 'stacked / plain', 'with arguments'), rows)


def largest_batch(sizes: Mapping[int, float], limit: float) -> int:
  """Returns the largest batch size that fits, a power of two or 0.

  Memory grows linearly with the batch size. Small batches are the exception,
  because updating the parameters needs more memory than their gradient.

  Args:
    sizes: bytes of a step for three batch sizes: 1, and two that determine the
      line.
    limit: bytes of the device.
  """
  (_, one), (few, low), (many, high) = sorted(sizes.items())
  each = (high - low) / (many - few)
  if each <= 0:
    raise ValueError(f'{many} clips need {high} bytes, and {few} need {low}')
  batch = 0
  while max(one, low + each * ((2 * batch or 1) - few)) <= limit:
    batch = 2 * batch or 1
  return batch


def what_fits(args: types.SimpleNamespace) -> str:
  """Returns the table of memory by batch size, and of the largest batches."""
  rows = []
  for name in args.configs:
    for remat in ('none', 'full'):
      print(f'fits: {name}, remat {remat}', file=sys.stderr, flush=True)
      sizes = {}
      changes = {'scan': True, 'remat': remat, 'dtype': 'bfloat16'}
      changes = {f'model.{key}': value for key, value in changes.items()}
      for clips in _CLIPS:
        config = programs.config(name, clips, **changes)
        step, _, *shapes = programs.whole_step(config)
        sizes[clips] = parallel.compiled(step, *shapes)[1]
      few, many = _CLIPS[-2:]
      each = (sizes[many] - sizes[few]) / (many - few)
      amounts = (f'{size / 1e9:.1f}' for size in (*sizes.values(), each))
      fits = (str(largest_batch(sizes, size * 1e9)) for size in _DEVICES)
      rows.append((name, remat, *amounts, *fits))
  amounts = (*(f'GB, batch {clips}' for clips in _CLIPS), 'GB per clip')
  fits = (f'batch in {size} GB' for size in _DEVICES)
  return measure.table(('config', 'remat', *amounts, *fits), rows)


def _compile(
  args: types.SimpleNamespace, size: str, scan: bool
) -> tuple[float, float]:
  """Returns the seconds to trace and to compile train.py's step, no cache."""
  jax.clear_caches()
  changes = {'model.size': size, 'model.scan': scan}
  step, _, *shapes = programs.whole_step(programs.config_of(args, **changes))
  begin = time.perf_counter()
  traced = step.lower(*shapes)
  middle = time.perf_counter()
  traced.compile()
  return middle - begin, time.perf_counter() - middle


def compile_times(args: types.SimpleNamespace) -> str:
  """Returns the table of seconds and the table of ratios."""
  runs = {
    f'{size}, {form}': functools.partial(_compile, args, size, scan)
    for size, form, scan in (
      (args.size, 'stacked', True),
      (args.larger, 'stacked', True),
      (args.larger, 'unrolled', False),
    )
  }
  first, second, third = runs
  runs[first]()  # not counted, because the first compilation also starts XLA
  seconds = measure.by_turns(runs, args.rounds)
  both = {name: list(map(sum, pairs)) for name, pairs in seconds.items()}
  rows = (
    (name, *(measure.median(x, 2) for x in (*zip(*pairs), both[name])))
    for name, pairs in seconds.items()
  )
  ratios = (
    (f'{a} / {b}', measure.ratio(both[a], both[b], goal))
    for a, b, goal in ((second, first, '<= 1.3'), (second, third, '<= 0.25'))
  )
  table = measure.table(('seconds', 'trace', 'compile', 'both'), rows)
  return f'{table}\n{measure.table(("ratio", "median (rounds)"), ratios)}'


_TABLES = {
  'plain': compare_with_plain,
  'fits': what_fits,
  'compile': compile_times,
}


def _define(values: flags.FlagValues) -> None:
  programs.define(values)
  choices = functools.partial(measure.define_choices, values)
  choices('tables', _TABLES)
  choices('families', programs.CONFIGS)
  choices('configs', _CONFIGS)
  text = "Second size in the table 'compile'."
  flags.DEFINE_enum('larger', 'L', list(SIZES), text, flag_values=values)
  measure.define_counts(values, rounds=(3, "Rounds for the table 'compile'."))


def main(argv: Sequence[str]) -> None:
  args = measure.parse(argv, _define, __doc__)
  programs.complete(args)
  if args.size == args.larger:
    raise UserError('--larger must differ from --size.')
  jax.config.update('jax_enable_compilation_cache', False)
  print(machine.describe('jax', 'jaxlib', 'flax'), end='\n\n')
  for name in args.tables:
    print(f'{name} ({jax.default_backend()})\n')
    print(_TABLES[name](args), flush=True)


if __name__ == '__main__':
  measure.run(main)

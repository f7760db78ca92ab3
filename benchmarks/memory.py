"""Memory and compile times of a training step, as XLA states them.

  python -m benchmarks.memory
  python -m benchmarks.memory --tables fits --configs k400_l16x2_fe

Three tables; nothing is run. `plain`: temporary memory (that besides the
arguments: parameters, momentum, clips) of our step with stacked blocks and
remat against the reference's form, the baseline, in float32. `fits`: the clips
of a device for train.py's step of a K400 config, with stacked blocks (XLA on a
CPU undoes the remat of others), bfloat16 and float32 parameters; an accelerator
lays out and fuses in its own way. `compile`: seconds to trace and to compile
train.py's step, stacked and unrolled, of the sizes --size and --larger.
"""

import argparse
import functools
import sys
import time
from collections.abc import Mapping, Sequence

import jax

from benchmarks import measure, programs, train_step
from vivit_jax import parallel
from vivit_jax.errors import exit_on_interrupt, exit_on_user_error

_CONFIGS = (*train_step.CONFIGS.values(), 'k400_l16x2_fe')
_DEVICES = (16, 24, 40, 80)  # GB, 1e9 bytes
_CLIPS = (1, 8, 16)  # that steps are compiled for


def _step_bytes(name: str, args: argparse.Namespace, **options) -> tuple:
  """Returns temporary bytes of a bare step, and those of its arguments."""
  step, shapes = programs.bare(name, args, **options)[1]['step']
  held = step.lower(*shapes).compile().memory_analysis()
  return held.temp_size_in_bytes, held.argument_size_in_bytes


def compare_with_plain(args: argparse.Namespace) -> str:
  """Returns the table of temporary memory by family."""
  rows = []
  for family in args.families:
    print(f'plain: {family}', file=sys.stderr, flush=True)
    one = argparse.Namespace(**vars(args) | {'family': family})
    stacked = _step_bytes('ours', one, scan=True, remat='full')
    unrolled, plain = _step_bytes('ours', one), _step_bytes('plain', one)
    # A fifth is the goal for the longest sequence, 3137 tokens.
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
  """Returns the largest power of two of clips that fit, or 0.

  A few clips need no more than one, where the update of the parameters needs
  more memory than the gradient; then memory grows along a line.

  Args:
    sizes: bytes of a step by its clips: of one, and of two other numbers, which
      the line goes through.
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


def what_fits(args: argparse.Namespace) -> str:
  """Returns the table of bytes by batch, and of the largest batches."""
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
      each = (sizes[16] - sizes[8]) / 8
      amounts = (f'{size / 1e9:.1f}' for size in (*sizes.values(), each))
      fits = (str(largest_batch(sizes, size * 1e9)) for size in _DEVICES)
      rows.append((name, remat, *amounts, *fits))
  amounts = (*(f'GB, batch {clips}' for clips in _CLIPS), 'GB a clip')
  fits = (f'batch in {size} GB' for size in _DEVICES)
  return measure.table(('config', 'remat', *amounts, *fits), rows)


def _compile(
  args: argparse.Namespace, size: str, scan: bool
) -> tuple[float, float]:
  """Returns seconds to trace and to compile train.py's step, without caches."""
  jax.clear_caches()
  changes = {'model.size': size, 'model.scan': scan}
  step, _, *shapes = programs.whole_step(programs.config_of(args, **changes))
  begin = time.perf_counter()
  traced = step.lower(*shapes)
  middle = time.perf_counter()
  traced.compile()
  return middle - begin, time.perf_counter() - middle


def compile_times(args: argparse.Namespace) -> str:
  """Returns the tables of seconds, and of the rounds' ratios."""
  runs = {
    f'{size}, {form}': functools.partial(_compile, args, size, scan)
    for size, form, scan in (
      (args.size, 'stacked', True),
      (args.larger, 'stacked', True),
      (args.larger, 'unrolled', False),
    )
  }
  first, second, third = runs
  runs[first]()  # not counted: what every first compilation needs
  found = measure.by_turns(runs, args.rounds)
  both = {name: list(map(sum, seconds)) for name, seconds in found.items()}
  rows = (
    (name, *(measure.median(x, 2) for x in (*zip(*seconds), both[name])))
    for name, seconds in found.items()
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


def main(argv: Sequence[str]) -> None:
  parser = measure.parser(__doc__)
  train_step.define(parser)
  add, families = parser.add_argument, list(train_step.CONFIGS)
  add('--tables', nargs='+', choices=_TABLES, default=list(_TABLES))
  add('--families', nargs='+', choices=families, default=families)
  add('--configs', nargs='+', choices=_CONFIGS, default=_CONFIGS)
  add('--larger', default='L')
  add('--rounds', type=measure.count, default=3, help='of all compilations')
  args = parser.parse_args(argv)
  if args.size == args.larger:
    parser.error('--larger must differ from --size')
  jax.config.update('jax_enable_compilation_cache', False)
  print(measure.machine('jax', 'jaxlib', 'flax'))
  for name in args.tables:
    print(f'{name} ({jax.default_backend()})\n')
    print(_TABLES[name](args), flush=True)


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    main(sys.argv[1:])

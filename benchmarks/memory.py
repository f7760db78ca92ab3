"""The memory of a training step, and which batches fit, as XLA states it.

  python -m benchmarks.memory
  python -m benchmarks.memory --size=S --crop=112 --configs
  python -m benchmarks.memory --families
  python -m benchmarks.memory --configs k400_l16x2_fe --optimiser=adamw

The first table compares our step with the reference's form
(`benchmarks.plain`): temporary memory, which is what a step needs besides its
arguments, that is parameters, momentum and clips, in float32. The second says
how many clips a device can train on, with the whole step of a config: uint8
clips, augmentation, bfloat16 computation, float32 parameters, the config's
optimiser. Blocks are stacked there, because XLA on a CPU undoes the remat of
those that are not. Everything is compiled, nothing is run.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures

import jax

from benchmarks import contestants, markdown, whole_step
from benchmarks.flags import at_least
from vivit_jax import parallel
from vivit_jax.commands import end_at_once
from vivit_jax.config import TrainConfig
from vivit_jax.errors import exit_on_user_error
from vivit_jax.models import family as families
from vivit_jax.models.sizes import SIZES

_CONFIGS = (
  'k400_b16x2',
  'k400_b16x2_fe',
  'k400_b16x2_fsa',
  'k400_b16x2_fdp',
  'k400_l16x2_fe',
)
_DEVICES = (16, 24, 40, 80)  # GB, 1e9 bytes
_CLIPS = (1, 8, 16)  # that steps are compiled for
# Name, contestant and its options.
_FORMS = (
  ('stacked', 'ours', {'scan': True, 'remat': 'full'}),
  ('unrolled', 'ours', {}),
  ('plain', 'plain', {}),
)


def step_memory(
  contestant: str, arguments: argparse.Namespace
) -> tuple[int, int]:
  """Returns the bytes of a step: temporary ones, and those of its arguments.

  Args:
    contestant: a key of `contestants.PROGRAMS`.
    arguments: of `contestants.define`.
  """
  program = contestants.PROGRAMS[contestant](arguments)
  held = program.trace('step', arguments).compile().memory_analysis()
  return held.temp_size_in_bytes, held.argument_size_in_bytes


def compare(flags: argparse.Namespace) -> Iterator[tuple[str, ...]]:
  """Yields a row for each family, of `_COMPARED`."""
  for family in flags.families:
    print(family, file=sys.stderr, flush=True)
    steps = [
      contestants.with_defaults(
        family=family,
        size=flags.size,
        frames=flags.frames,
        crop=flags.crop,
        batch=flags.batch,
        **options,
      )
      for *_, options in _FORMS
    ]
    names, programs, _ = zip(*_FORMS)
    with futures.ThreadPoolExecutor() as pool:
      found = dict(zip(names, pool.map(step_memory, programs, steps)))
    mine, theirs = found['stacked'], found['plain']
    ratio = mine[0] / theirs[0]
    # The fifth is asked of the longest sequence, 3137 tokens.
    full = family == 'joint' and (flags.frames, flags.crop) == (32, 224)
    bound = '<= 0.2' if full else '< 1'
    yield (
      contestants.title(family),
      f'{mine[1] / 1e6:.0f}',
      *(f'{temporary / 1e6:.0f}' for temporary, _ in found.values()),
      f'{ratio:.3f}',
      markdown.goal(ratio, bound),
      f'{sum(mine) / sum(theirs):.2f}',
    )


_COMPARED = (
  'model',
  'arguments, MB',
  'ours, stacked, remat full',
  'ours, unrolled',
  'plain',
  'stacked / plain',
  'goal',
  'with arguments',
)


def config_memory(config: TrainConfig) -> int:
  """Returns the bytes of a device for a config's training step.

  Those of the state, which the step reuses, of the batch, of the metrics, and
  what is temporary.
  """
  return parallel.compiled(*whole_step.of(config))[1]


def largest_batch(sizes: Mapping[int, float], limit: float) -> int:
  """Returns the largest power of two of clips that fit, or 0.

  A few clips need what one needs, where the update of the parameters takes more
  memory than their gradient; from some number on memory grows along a line.

  Args:
    sizes: bytes of a step by its clips: for one clip, and for two numbers of
      clips through which the line goes.
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


def fitting(flags: argparse.Namespace) -> Iterator[tuple[str, ...]]:
  """Yields rows of `_FITTING`: each config with and without remat."""
  for name in flags.configs:
    for remat in ('none', 'full'):
      print(f'{name}, remat {remat}', file=sys.stderr, flush=True)
      configs = [
        _changed(name, remat, clips, flags.optimiser) for clips in _CLIPS
      ]
      with futures.ThreadPoolExecutor() as pool:
        sizes = dict(zip(_CLIPS, pool.map(config_memory, configs)))
      one, low, high = sizes.values()
      yield (
        name,
        remat,
        f'{one / 1e9:.1f}',
        f'{low / 1e9:.1f}',
        f'{high / 1e9:.1f}',
        *(str(largest_batch(sizes, size * 1e9)) for size in _DEVICES),
      )


_FITTING = (
  'config',
  'remat',
  *(f'GB, batch {clips}' for clips in _CLIPS),
  *(f'in {size} GB' for size in _DEVICES),
)


def _changed(
  name: str, remat: str, clips: int, optimiser: str | None
) -> TrainConfig:
  """Returns a config as it is to fit; see `whole_step.changed`."""
  changes = {
    'model.scan': True,
    'model.remat': remat,
    'model.dtype': 'bfloat16',
  }
  if optimiser:
    changes['optim.name'] = optimiser
  return whole_step.changed(name, clips, changes)


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  # All but Ti, whose heads Model 4 cannot halve.
  sizes = [
    name for name, size in SIZES.items() if size.attention_heads % 2 == 0
  ]
  add(
    '--families',
    nargs='*',
    default=list(families.every()),
    choices=families.every(),
    help='of the first table (all); none: no such',
  )
  add('--size', default='B', choices=sizes, help='of the first table')
  add('--frames', type=at_least(1), default=32, help='of its clips (32)')
  add('--crop', type=at_least(1), default=224, help='of its clips (224)')
  add('--batch', type=at_least(1), default=1, help='its clips (1)')
  add(
    '--configs',
    nargs='*',
    default=_CONFIGS,
    help='of the second; none: no such',
  )
  add('--optimiser', help="of the second, instead of the config's, as adamw")
  flags = parser.parse_args(argv)
  if flags.families:
    sides = {'frames': flags.frames, 'crop': flags.crop}
    contestants.check_tubelets(contestants.with_defaults(**sides))
  for name in flags.configs:  # a mistake in them is told before the minutes
    _changed(name, 'none', 1, flags.optimiser)
  backend = jax.default_backend()
  shape = f'{flags.frames} x {flags.crop} x {flags.crop}'
  if flags.families:
    print(
      f'Temporary memory of a training step by XLA ({backend}), MB: size '
      f'{flags.size}, {shape}, batch {flags.batch}, float32.\n'
    )
    print(markdown.table(_COMPARED, compare(flags)) + '\n', flush=True)
  if not flags.configs:
    return
  optimiser = flags.optimiser or "the config's optimiser"
  print(
    'The largest batch of a device, a power of two, that a training step of '
    f'ours fits in: stacked blocks, bfloat16, float32 parameters, {optimiser}. '
    f'By XLA ({backend}) for {_CLIPS[0]}, {_CLIPS[1]} and {_CLIPS[2]} clips, '
    'and along the line through the last two; without room for anything else.'
    + (
      ' An accelerator lays out and fuses in its own way, and a CPU widens '
      'some of bfloat16 to float32.'
      if backend == 'cpu'
      else ''
    )
    + '\n'
  )
  print(markdown.table(_FITTING, fitting(flags)), flush=True)


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    main(sys.argv[1:])

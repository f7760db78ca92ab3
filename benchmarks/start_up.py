"""The time to the first training step, and of a small evaluation, by the cache.

  python -m benchmarks.start_up

Seconds from the start of a command, of the demo's model on a few videos of
moving_shapes that this makes: of train.py, until it has reported its first
step; of evaluate.py, until it has ended, with one batch of 16 videos. Without
the compilation cache (the baseline), with an empty one, which the command
fills, and with a full one, as every later command finds it. All run in
processes of their own, by turns; a ratio is the median of the rounds'. What is
not compiling (Python's imports, the data, the step itself) is the same in all
three.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks import markdown
from benchmarks.flags import at_least
from vivit_jax.data import prepare
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

ROOT = pathlib.Path(__file__).absolute().parents[1]
CACHES = ('without', 'empty', 'full')
_COUNTS = {'train': 32, 'validation': 16, 'test': 16}
_FIRST_STEP = 'step 1/'  # how the line of train.py begins

Round = Mapping[str, float]  # seconds by what the cache was


def seconds_until(command: Sequence[str], begins: str | None = None) -> float:
  """Returns seconds until a command prints such a line, or until it has ended.

  Raises:
    UserError: it failed, or never printed that; what it said is told before.
  """
  own = ('JAX_COMPILATION_CACHE_DIR', 'JAX_ENABLE_COMPILATION_CACHE')
  environment = {k: x for k, x in os.environ.items() if k not in own}
  begin, found, said = time.perf_counter(), None, []
  with subprocess.Popen(
    command,
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    try:
      for line in process.stdout:
        said.append(line)
        if begins is not None and found is None and line.startswith(begins):
          found = time.perf_counter() - begin
    except BaseException:  # Ctrl-C
      process.kill()
      raise
  if begins is None:
    found = time.perf_counter() - begin
  if process.returncode or found is None:
    print(''.join(said), file=sys.stderr, flush=True)
    raise UserError(f'{command[1]} was not measured; its own words are above.')
  return found


def measure(
  batch: int, data: pathlib.Path, folder: pathlib.Path, name: str
) -> tuple[float, float]:
  """Returns seconds of train.py and of evaluate.py, with one kind of cache.

  Args:
    batch: clips of a training step.
    data: folder of the dataset.
    folder: for the cache, which is found and left there, and the run.
    name: of `CACHES`; only 'without' is not a folder.
  """
  cache = 'off' if name == 'without' else str(folder / 'cache')
  with tempfile.TemporaryDirectory(dir=folder) as workdir:
    common = [f'--workdir={workdir}', f'--compilation_cache={cache}']
    training = [
      f'--config={ROOT}/configs/moving_shapes_ti8x2_fe.py',
      f'--config.data.data_dir={data}',
      '--config.data.workers=0',
      f'--config.train.batch_size={batch}',
      f'--config.train.epochs={batch / _COUNTS["train"]}',  # one step
      '--config.train.log_every=1',
      '--config.train.validate_every=0',
      '--config.optim.warmup_epochs=0',
      '--config.evaluation.batch_size=16',
    ]
    train = [sys.executable, 'train.py', *common, *training]
    evaluate = [sys.executable, 'evaluate.py', *common, '--split=test']
    return seconds_until(train, _FIRST_STEP), seconds_until(evaluate)


def table(rounds: Mapping[str, Sequence[Round]]) -> str:
  """Returns a Markdown table of medians, and of ratios to 'without'.

  Args:
    rounds: seconds by the name of what was measured.
  """
  lines = [
    '| | without, s | empty cache, s | to without | full cache, s '
    '| to without |',
    '|---|---|---|---|---|---|',
  ]
  for what, measured in rounds.items():
    cells = [what]
    for name in CACHES:
      times = [one[name] for one in measured]
      cells.append(f'{statistics.median(times):.1f}')
      if name == 'without':
        continue
      without = [one['without'] for one in measured]
      cells.append(markdown.ratio([one[name] for one in measured], without))
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.start_up',
    description='Times commands without, with an empty and with a full cache.',
  )
  add = parser.add_argument
  add('--batch_size', type=at_least(1), default=8, help='clips of a step (8)')
  add('--rounds', type=at_least(1), default=3, help='of all measurements (3)')
  flags = parser.parse_args()
  first, second = 'train.py, to its first step', 'evaluate.py, 16 videos'
  rounds = {first: [], second: []}
  with tempfile.TemporaryDirectory() as scratch:
    data = pathlib.Path(scratch) / 'data'
    with contextlib.redirect_stdout(sys.stderr):
      prepare.prepare_embedded(data, counts=_COUNTS, workers=1)
    for number in range(flags.rounds):
      folder = pathlib.Path(scratch) / str(number)
      folder.mkdir()
      found = {}
      for name in CACHES:  # the empty one is the full one, when it is
        found[name] = measure(flags.batch_size, data, folder, name)
        said = ', '.join(f'{seconds:.1f} s' for seconds in found[name])
        print(f'round {number + 1}, {name}: {said}', file=sys.stderr)
      for place, what in enumerate(rounds):
        rounds[what].append({name: x[place] for name, x in found.items()})
  print(
    f'{flags.batch_size} clips a step, {os.cpu_count()} cores, '
    f'{flags.rounds} rounds\n'
  )
  print(table(rounds))
  return 0


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

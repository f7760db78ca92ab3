"""Clips a second of train.py, against its input alone and its step alone.

  python -m benchmarks.end_to_end

If input, transfer and step overlap, `train.py` is as fast as the slower of the
two. On a CPU both would want all cores, alone, and have to share them together.
So the cores are split for all that is measured: one half is the "device", for
the process that computes, the other half is for the processes that decode. The
three are:

  input alone   `pipeline.train_batches`, whose batches nobody uses
  step alone    the training step, given the same batch again and again, with
                one step in flight
  train.py      a process of its own, with its workdir, metrics and workers;
                timed from outside, by the lines that it prints

They run by turns, each at its turn alone, in two cases: a model so small, and a
single worker, that the input is the slower part; and a model large enough, with
a worker for each of its cores, that the step is. The videos are
those of `benchmarks.input_pipeline`, written once.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import alone, apart, markdown, pinning
from benchmarks.flags import at_least, positive
from vivit_jax import processes
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

GOAL = '>= 0.9'  # of the slower part
_ROOT = pathlib.Path(__file__).parent.parent
_CONFIG = 'configs/k400_b16x2_fe.py'
PARTS = ('input alone', 'step alone', 'train.py')
_START_SECONDS = 300.0  # a process that has not begun by then never will


def whole(case: str, data_dir: str, seconds: float) -> float:
  """Returns clips a second of train.py, by the lines that it prints.

  Raises:
    UserError: it ended by itself.
  """
  device, others = pinning.halves(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, 'train.py', f'--config={_CONFIG}']
    command.append(f'--workdir={workdir}/run')
    command += [
      f'--config.{key}={value}'
      for key, value in alone.changes(case, data_dir, len(others)).items()
    ]
    process = subprocess.Popen(
      command,
      cwd=_ROOT,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=lambda: os.sched_setaffinity(0, device),
    )
    try:
      lines = steps_of(process.stdout, time.perf_counter)
      begun = next(lines, None) is not None
      if not (begun and pinning.pin_workers(process.pid, others)):
        raise UserError('train.py has not trained; its own words are above.')
      speed = clips_a_second(lines, alone.SHARED['train.batch_size'], seconds)
    finally:
      process.send_signal(signal.SIGTERM)  # it saves, and ends its workers
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_START_SECONDS)
      process.kill()
  return speed


def steps_of(
  lines: Iterator[str], clock=time.perf_counter
) -> Iterator[tuple[float, int]]:
  """Yields when a line of metrics came, and the step that it tells."""
  for line in lines:
    now = clock()
    if line.startswith('step ') and '/' in line.split()[1]:
      yield now, int(line.split()[1].partition('/')[0])


def clips_a_second(
  steps: Iterator[tuple[float, int]],
  batch_size: int,
  seconds: float,
  warm_seconds: float = alone.WARM_SECONDS,
) -> float:
  """Returns the speed between the first line that is warm and a later one.

  Args:
    steps: of `steps_of`; of them no more are taken than needed.
    batch_size: clips of a step.
    seconds: between the two lines, at least.
    warm_seconds: before the first of them, at least.

  Raises:
    UserError: the lines end before that.
  """
  start, first = None, None
  for now, step in steps:
    start = now if start is None else start
    if first is None and now - start >= warm_seconds:
      first = now, step
    elif first is not None and now - first[0] >= seconds:
      return (step - first[1]) * batch_size / (now - first[0])
  raise UserError('train.py ended before it was measured.')


def run(
  data_dir: str, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
  """Returns clips a second of each round, by case and part."""
  device, others = pinning.halves(os.sched_getaffinity(0))
  found = {case: {part: [] for part in PARTS} for case in alone.CASES}
  with contextlib.ExitStack() as stack:
    pools = {
      key: stack.enter_context(apart.process(_begin, (device,)))
      for key in [(part, case) for part in PARTS[:2] for case in alone.CASES]
    }
    fixed = data_dir, tuple(others), seconds
    for number in range(rounds):
      for case in alone.CASES:
        parts = {
          part: lambda part=part, call=call, case=case: apart.call(
            pools[part, case], call, case, *fixed
          )
          for part, call in zip(PARTS, (alone.input_alone, alone.step_alone))
        }
        parts |= {
          PARTS[2]: lambda case=case: whole(case, data_dir, seconds),
        }
        for part in PARTS if number % 2 == 0 else PARTS[::-1]:
          found[case][part].append(parts[part]())
          print(
            f'round {number + 1}, {case}: {part} {found[case][part][-1]:.1f}',
            file=sys.stderr,
            flush=True,
          )
    for case in alone.CASES:
      apart.call(pools[PARTS[0], case], alone.close_input, case, *fixed[:2])
  return found


def _begin(cores: Sequence[int]) -> None:
  """Readies a process that measures."""
  processes.obey_parent()
  os.sched_setaffinity(0, cores)


def slower_part(parts: Mapping[str, Sequence[float]]) -> list[float]:
  """Returns the speed of the slower of the two parts, of each round."""
  return [min(both) for both in zip(*(parts[part] for part in PARTS[:2]))]


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
  """Returns a table in Markdown: medians, and the ratio with its spread."""
  header = ('clips/s', *PARTS, 'train.py / the slower part (rounds)', 'goal')
  rows = []
  for case, parts in found.items():
    speeds = (f'{statistics.median(parts[part]):.1f}' for part in PARTS)
    whole_speed, slower = parts[PARTS[2]], slower_part(parts)
    median = statistics.median(a / b for a, b in zip(whole_speed, slower))
    told = markdown.ratio(whole_speed, slower), markdown.goal(median, GOAL)
    rows.append((case, *speeds, *told))
  return markdown.table(header, rows)


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.end_to_end',
    description='Compares train.py with its input alone and its step alone.',
  )
  add = parser.add_argument
  add('--cache', default='data/benchmark', help='folder of what is written')
  add(
    '--videos',
    type=at_least(8),
    default=24,
    help='how many are written, where none are there yet (24)',
  )
  add('--seconds', type=positive, default=3.0, help='of each measurement (3)')
  add('--rounds', type=at_least(1), default=2, help='of all measurements (2)')
  flags = parser.parse_args()
  if not hasattr(os, 'sched_setaffinity'):
    raise UserError('cores can be split on Linux alone.')
  device, others = pinning.halves(os.sched_getaffinity(0))
  from benchmarks import clips

  cache = os.path.abspath(flags.cache)
  clips.prepared(cache, flags.videos, ('jpeg',))
  found = run(cache, flags.rounds, flags.seconds)
  print(f'{len(device)} cores compute, {len(others)} decode\n')
  print(table(found))
  return 0


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

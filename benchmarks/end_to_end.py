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
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import measure
from vivit_jax.errors import UserError, exit_on_user_error

GOAL = 0.9  # of the slower part
_ROOT = pathlib.Path(__file__).parent.parent
_CONFIG = 'configs/k400_b16x2_fe.py'
_SHARED = {
  'model.heads': {'label': 4},
  'model.kernel_init': 'random',
  'model.size': 'Ti',
  'data.frames': 32,
  'data.crop': (64, 64),
  'data.short_side': 72,
  'augment.colour_jitter': 0.0,
  'augment.colour_drop': 0.0,
  'train.batch_size': 8,
  'train.epochs': 1e5,  # until it is told to end
  'train.log_every': 10,
  'train.validate_every': 0,
  'train.checkpoint_every': 10**9,
  'evaluation.split': 'train',
  'evaluation.temporal_views': 1,
}
CASES = {
  'input-bound': {
    'model.tubelet': (16, 16, 16),
    'model.spatial_layers': 1,
    'model.temporal_layers': 1,
    'data.workers': 1,
  },
  'step-bound': {'model.tubelet': (4, 8, 8), 'model.spatial_layers': 2},
}
PARTS = ('input alone', 'step alone', 'train.py')
_WARM_SECONDS = 2.0
_START_SECONDS = 300.0  # a process that has not begun by then never will


def halves(cores: Sequence[int]) -> tuple[list[int], list[int]]:
  """Returns the cores of the device, and those of the workers.

  Raises:
    UserError: there is one core.
  """
  cores = sorted(cores)
  if len(cores) < 2:
    raise UserError('two cores are needed: one to compute, one to decode.')
  middle = len(cores) // 2
  return cores[:middle], cores[middle:]


def pin_workers(process: int, cores: Sequence[int]) -> int:
  """Moves the worker processes of a process, and their threads, to cores.

  Returns:
    How many workers there are.
  """
  workers = [
    child
    for child in measure.tree(process)
    if child != process and _is_worker(child)
  ]
  for worker in workers:
    for task in pathlib.Path(f'/proc/{worker}/task').iterdir():
      with contextlib.suppress(ProcessLookupError):  # a thread that has ended
        os.sched_setaffinity(int(task.name), cores)
  return len(workers)


def _is_worker(process: int) -> bool:
  """Returns whether Python's multiprocessing started it, to do work."""
  try:
    command = pathlib.Path(f'/proc/{process}/cmdline').read_bytes()
  except OSError:
    return False
  return b'multiprocessing.spawn' in command


def changes(case: str, data_dir: str, workers: int) -> dict[str, object]:
  """Returns what a case's config has instead of the file's."""
  from benchmarks import clips

  return {
    **_SHARED,
    'data.data_dir': data_dir,
    'data.dataset': clips.DATASETS['jpeg'],
    'data.workers': workers,
    **CASES[case],
  }


def _config(case: str, data_dir: str, workers: int):
  from configs import k400_b16x2_fe
  from vivit_jax import config as configs

  config = k400_b16x2_fe.get_config()
  config.update_from_flattened_dict(
    {
      key: value
      for key, value in changes(case, data_dir, workers).items()
      if key != 'model.heads'
    }
  )
  config.model.heads = _SHARED['model.heads']
  return configs.resolve(config)


# What follows runs in processes of its own, which stay from turn to turn.


@functools.cache
def _batches(case: str, data_dir: str, cores: tuple[int, ...]):
  from vivit_jax.data import datasets, pipeline

  config = _config(case, data_dir, len(cores))
  data = config.data
  source = datasets.open_split(data.dataset, data.data_dir, data.train_split)
  batches = pipeline.train_batches(
    source,
    data,
    augment=config.augment,
    seed=config.train.seed,
    batch_size=config.train.batch_size,
  )
  next(batches)
  pin_workers(os.getpid(), cores)
  return batches, config.train.batch_size


def input_alone(
  case: str, data_dir: str, cores: tuple[int, ...], seconds: float
) -> float:
  """Returns clips a second of the pipeline, once its buffers are empty."""
  batches, batch_size = _batches(case, data_dir, cores)
  return measure.stream(
    batches,
    batch_size,
    seconds=seconds,
    warm_batches=4 * len(cores),  # past what was made ahead
    warm_seconds=_WARM_SECONDS,
  ).speed


def close_input(case: str, data_dir: str, cores: tuple[int, ...]) -> None:
  """Ends the workers of `input_alone`."""
  _batches(case, data_dir, cores)[0].close()


@functools.cache
def _ready_step(case: str, data_dir: str, cores: tuple[int, ...]):
  """Returns what makes a step, and the clips of one."""
  from vivit_jax import config as configs
  from vivit_jax import models, parallel
  from vivit_jax.training import inputs, optim, step

  config = _config(case, data_dir, len(cores))
  model = models.build(**configs.model_arguments(config.model))
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3)
  state = parallel.replicate(step.initialise(model, optimiser, config))
  update = step.train_step(model, optimiser, config)
  batches, batch_size = _batches(case, data_dir, cores)
  batch = inputs.arrays(next(batches))
  batches.close()

  def make():
    nonlocal state
    state, values = update(state, parallel.shard(batch))
    return values

  return make, batch_size


def step_alone(
  case: str, data_dir: str, cores: tuple[int, ...], seconds: float
) -> float:
  """Returns clips a second of the step, transfers included."""
  import jax

  make, batch_size = _ready_step(case, data_dir, cores)
  jax.block_until_ready(make())  # compiled, warm
  waiting, made = make(), 0
  begin, passed = time.perf_counter(), 0.0
  while passed < seconds:
    ahead = make()
    jax.block_until_ready(waiting)
    waiting, made = ahead, made + 1
    passed = time.perf_counter() - begin
  jax.block_until_ready(waiting)
  return made * batch_size / passed


# What follows runs in the benchmark's own process.


def whole(case: str, data_dir: str, seconds: float) -> float:
  """Returns clips a second of train.py, by the lines that it prints.

  Raises:
    UserError: it ended by itself.
  """
  device, others = halves(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, 'train.py', f'--config={_CONFIG}']
    command.append(f'--workdir={workdir}/run')
    command += [
      f'--config.{key}={value}'
      for key, value in changes(case, data_dir, len(others)).items()
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
      if next(lines, None) is None or not pin_workers(process.pid, others):
        raise UserError('train.py has not trained; its own words are above.')
      speed = clips_a_second(lines, _SHARED['train.batch_size'], seconds)
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
  warm_seconds: float = _WARM_SECONDS,
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
  device, others = halves(os.sched_getaffinity(0))
  found = {case: {part: [] for part in PARTS} for case in CASES}
  with contextlib.ExitStack() as stack:
    pools = {
      key: stack.enter_context(
        concurrent.futures.ProcessPoolExecutor(
          1,
          multiprocessing.get_context('spawn'),
          initializer=os.sched_setaffinity,
          initargs=(0, device),
        )
      )
      for key in [(part, case) for part in PARTS[:2] for case in CASES]
    }
    fixed = data_dir, tuple(others), seconds
    for number in range(rounds):
      for case in CASES:
        parts = {
          part: lambda part=part, call=call, case=case: (
            pools[part, case].submit(call, case, *fixed).result()
          )
          for part, call in zip(PARTS, (input_alone, step_alone))
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
    for case in CASES:
      pools[PARTS[0], case].submit(close_input, case, *fixed[:2]).result()
  return found


def ratios(parts: Mapping[str, Sequence[float]]) -> list[float]:
  """Returns train.py's speed over that of the slower part, of each round."""
  return [
    both / min(clips, step)
    for clips, step, both in zip(*(parts[part] for part in PARTS))
  ]


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
  """Yields lines of Markdown: medians, and the ratio with its spread."""
  yield (
    f'| clips/s | {" | ".join(PARTS)} | train.py / the slower part (rounds) | '
    f'goal >= {GOAL} |'
  )
  yield '|---' * (len(PARTS) + 3) + '|'
  for case, parts in found.items():
    speeds = [f'{statistics.median(parts[part]):.1f}' for part in PARTS]
    each = ratios(parts)
    median = statistics.median(each)
    reached = 'reached' if median >= GOAL else 'missed'
    spread = f'{median:.2f} ({min(each):.2f} to {max(each):.2f})'
    yield f'| {" | ".join([case, *speeds, spread, reached])} |'


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.end_to_end',
    description='Compares train.py with its input alone and its step alone.',
  )
  add = parser.add_argument
  add('--cache', default='data/benchmark', help='folder of what is written')
  add('--videos', type=int, default=24, help='that are written (24)')
  add('--seconds', type=float, default=3.0, help='of each measurement (3)')
  add('--rounds', type=int, default=2, help='of all measurements (2)')
  flags = parser.parse_args()
  if not hasattr(os, 'sched_setaffinity'):
    raise UserError('cores can be split on Linux alone.')
  device, others = halves(os.sched_getaffinity(0))
  from benchmarks import clips

  cache = os.path.abspath(flags.cache)
  clips.prepared(cache, flags.videos, ('jpeg',))
  found = run(cache, flags.rounds, flags.seconds)
  print(f'{len(device)} cores compute, {len(others)} decode\n')
  print('\n'.join(table(found)))
  return 0


if __name__ == '__main__':
  with exit_on_user_error():
    sys.exit(main())

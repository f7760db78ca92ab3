"""Clips/s of train.py against the slower of its input and its step (Linux).

  python -m benchmarks.end_to_end

If input, transfer and step overlap, train.py is as fast as the slower part
alone, the baseline. On a CPU both parts want all cores; so half of the cores
are the "device", for the process that computes, and half are for the workers
that decode. By turns, each alone:

  input     `pipeline.train_batches`, whose batches are not used
  step      the training step on the same batch again, one step in flight
  train.py  the whole program, timed by the lines that it prints

in two cases: a small model and one worker, so that the input is slower, and a
larger model, with a worker for each core, so that the step is. The videos are
those of `benchmarks.input_pipeline`.
"""

import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence

from benchmarks import input_pipeline, measure
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

# Functions import what computes: by then the process is on its cores.

_CONFIG, _BATCH, _WARM_SECONDS = 'k400_b16x2_fe', 8, 2.0
_SHARED = {
  'model.heads.label': 4,
  'model.options.kernel_init': 'random',
  'model.size': 'Ti',
  'data.dataset': input_pipeline.OWN,
  'data.frames': 32,
  'data.crop': (64, 64),
  'data.short_side': 72,
  'augment.colour_jitter': 0.0,
  'augment.colour_drop': 0.0,
  'train.batch_size': _BATCH,
  'train.epochs': 1e5,  # until it is stopped
  'train.log_every': 10,
  'train.validate_every': 0,
  'train.checkpoint_every': 10**9,
  'evaluation.split': 'train',
  'evaluation.temporal_views': 1,
}
_CASES = {
  'input-bound': {
    'model.options.tubelet': (16, 16, 16),
    'model.options.spatial_layers': 1,
    'model.options.temporal_layers': 1,
    'data.workers': 1,
  },
  'step-bound': {
    'model.options.tubelet': (4, 8, 8),
    'model.options.spatial_layers': 2,
  },
}


def _pin_workers(process: int, cores: Sequence[int]) -> bool:
  """Moves the workers of a process to cores; returns whether it has any."""
  found = False
  for worker in measure.tree(process)[1:]:
    # Not multiprocessing's resource tracker.
    if 'multiprocessing.spawn' in measure.read_proc(worker, 'cmdline'):
      found = True
      for task in pathlib.Path(f'/proc/{worker}/task').iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that ended
          os.sched_setaffinity(int(task.name), cores)
  return found


def _input(changes: dict, cores: Sequence[int], seconds: float) -> float:
  """Returns clips/s of the pipeline, once its buffers are empty."""
  from benchmarks import programs
  from vivit_jax.data import datasets, pipeline

  config = programs.config(_CONFIG, _BATCH, **changes)
  data = config.data
  source = datasets.open_split(data.dataset, data.data_dir, data.train_split)
  batches = pipeline.train_batches(
    source, data, config.augment, seed=0, batch_size=_BATCH
  )
  with contextlib.closing(batches):
    next(batches)
    _pin_workers(os.getpid(), cores)
    return measure.stream(
      batches,
      _BATCH,
      seconds=seconds,
      warm_batches=4 * len(cores),  # more than is made ahead
      warm_seconds=_WARM_SECONDS,
    )['clips/s']


def _step(changes: dict, cores: Sequence[int], seconds: float) -> float:
  """Returns clips/s of the step, transfers included."""
  import jax

  from benchmarks import programs

  config = programs.config(_CONFIG, _BATCH, **changes)
  step, _ = programs.running_step(config)
  jax.block_until_ready(step())
  waiting, steps = step(), 0
  begin, passed = time.perf_counter(), 0.0
  while passed < seconds:
    ahead = step()
    jax.block_until_ready(waiting)
    waiting, steps = ahead, steps + 1
    passed = time.perf_counter() - begin
  return steps * _BATCH / passed


def _whole(
  changes: dict, device: Sequence[int], cores: Sequence[int], seconds: float
) -> float:
  """Returns clips/s of train.py, by the lines that it prints."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, 'train.py', f'--config=configs/{_CONFIG}.py']
    command.append(f'--workdir={workdir}/run')
    command += [f'--config.{key}={value}' for key, value in changes.items()]
    root = pathlib.Path(__file__).parent.parent
    os.sched_setaffinity(0, device)  # which the process inherits
    process = subprocess.Popen(
      command, cwd=root, stdout=subprocess.PIPE, text=True
    )
    os.sched_setaffinity(0, [*device, *cores])
    try:
      steps = steps_of(process.stdout)
      begin = next(steps, None)
      if begin is None or not _pin_workers(process.pid, cores):
        raise UserError('train.py did not train; its error is above.')
      warm = (x for x in steps if x[0] >= begin[0] + _WARM_SECONDS)
      first = last = next(warm, begin)
      while last[0] - first[0] < seconds:
        last = next(warm)
      return (last[1] - first[1]) * _BATCH / (last[0] - first[0])
    except StopIteration:
      raise UserError('train.py ended before it was measured.') from None
    finally:
      process.send_signal(signal.SIGTERM)  # it saves, and ends its workers
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=300)
      process.kill()


def steps_of(lines: Iterable[str]) -> Iterator[tuple[float, int]]:
  """Yields the time at which each line of metrics came, and its step."""
  for line in lines:
    if line.startswith('step ') and '/' in line.split()[1]:
      yield time.perf_counter(), int(line.split()[1].partition('/')[0])


def main(argv: Sequence[str]) -> None:
  parser = measure.parser(__doc__)
  add = parser.add_argument
  add('--cache', default='data/benchmark', help='folder of what is written')
  add('--videos', type=measure.count, default=24, help='how many are written')
  add('--cases', nargs='+', choices=_CASES, default=list(_CASES))
  add('--seconds', type=float, default=3.0, help='of each measurement')
  add('--rounds', type=measure.count, default=2)
  args = parser.parse_args(argv)
  cores = measure.cores()
  device, others = cores[: len(cores) // 2], cores[len(cores) // 2 :]
  if not device or not hasattr(os, 'sched_setaffinity'):
    raise UserError('two cores are needed, on Linux.')
  cache = os.path.abspath(args.cache)
  measure.apart(input_pipeline.write_own, cache, args.videos)
  runs, alone = {}, functools.partial(measure.apart, cores=device)
  for case in args.cases:
    workers = {'data.data_dir': cache, 'data.workers': len(others)}
    changes = _SHARED | workers | _CASES[case]
    rest = others, args.seconds
    runs[case, 'input'] = functools.partial(alone, _input, changes, *rest)
    runs[case, 'step'] = functools.partial(alone, _step, changes, *rest)
    runs[case, 'train.py'] = functools.partial(_whole, changes, device, *rest)
  found = measure.by_turns(runs, args.rounds)
  rows = []
  for case in args.cases:
    *parts, whole = (found[case, x] for x in ('input', 'step', 'train.py'))
    ratio = measure.ratio(whole, list(map(min, *parts)), '>= 0.9')
    rows.append((case, *map(measure.median, (*parts, whole)), ratio))
  print(measure.machine('jax', 'jaxlib', 'flax'))
  print(f'{len(device)} cores compute, {len(others)} decode.\n')
  header = ('clips/s', 'input', 'step', 'train.py', 'train.py / slower part')
  print(measure.table(header, rows))


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    main(sys.argv[1:])

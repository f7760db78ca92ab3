"""Does train.py overlap input and training step? Clips/s of each (Linux).

  python -m benchmarks.end_to_end

If input, transfer and step overlap, train.py is as fast as the slower part
alone, which is the baseline. On a CPU, both parts compete for cores, so half of
the cores compute and half decode. Three programs run in turn:

  input     `pipeline.train_batches`; the batches are not used
  step      the training step, on the same batch each time
  train.py  the whole program, timed by the lines it prints

There are two cases: a small model with one worker, where the input is slower,
and a larger model with a worker per core, where the step is slower. The videos
are those of `benchmarks.input_pipeline`.
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

import psutil
from absl import flags

from benchmarks import input_pipeline, measure
from vivit_jax import machine
from vivit_jax.errors import UserError

# jax is imported in functions, after the process is pinned to its cores.

_CONFIG, _BATCH, _WARM_SECONDS = 'k400_b16x2_fe', 8, 2.0
_SHARED = {
  'model.heads.label': 4,
  'model.options.tubelet_init': 'random',
  'model.size': 'Ti',
  'data.dataset': input_pipeline.OWN,
  'data.frames': 32,
  'data.crop': (64, 64),
  'data.short_side': 72,
  'augment.colour_jitter': 0.0,
  'augment.colour_drop': 0.0,
  'train.batch_size': _BATCH,
  'train.epochs': 1e5,  # until the benchmark stops it
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
  """Pins the workers of a process to cores; returns whether it has any."""
  pinned = False
  for worker in psutil.Process(process).children(recursive=True):
    # A process or a thread may end meanwhile.
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
      # Leaves out multiprocessing's resource tracker.
      if 'multiprocessing.spawn' in ' '.join(worker.cmdline()):
        pinned = True
        for thread in worker.threads():
          os.sched_setaffinity(thread.id, cores)
  return pinned


def _input(changes: dict, cores: Sequence[int], seconds: float) -> float:
  """Returns clips/s of the pipeline, after its prefetched batches are used."""
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
      warm_batches=4 * len(cores),  # more than the buffers hold
      warm_seconds=_WARM_SECONDS,
    )['clips/s']


def _step(changes: dict, cores: Sequence[int], seconds: float) -> float:
  """Returns clips/s of the step, with transfers and one step in flight."""
  import jax

  from benchmarks import programs

  config = programs.config(_CONFIG, _BATCH, **changes)
  step = programs.running_step(config)
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
  """Returns clips/s of train.py, from the lines it prints."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, 'train.py', f'--config=configs/{_CONFIG}.py']
    command.append(f'--workdir={workdir}/run')
    command += [f'--config.{key}={value}' for key, value in changes.items()]
    root = pathlib.Path(__file__).parent.parent
    os.sched_setaffinity(0, device)  # the new process inherits it
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
      process.send_signal(signal.SIGTERM)  # train.py saves and ends its workers
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=300)
      process.kill()


def steps_of(lines: Iterable[str]) -> Iterator[tuple[float, int]]:
  """Yields arrival time and step of each line with metrics."""
  for line in lines:
    if line.startswith('step ') and '/' in line.split()[1]:
      yield time.perf_counter(), int(line.split()[1].partition('/')[0])


def _define(values: flags.FlagValues) -> None:
  input_pipeline.define_videos(values)
  measure.define_choices(values, 'cases', _CASES)
  measure.define_counts(values, rounds=(2, 'Rounds to measure.'))


def main(argv: Sequence[str]) -> None:
  args = measure.parse(argv, _define, __doc__)
  cores = machine.cores()
  device, others = cores[: len(cores) // 2], cores[len(cores) // 2 :]
  if not device or not hasattr(os, 'sched_setaffinity'):
    raise UserError('this benchmark needs Linux and two cores.')
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
  speeds = measure.by_turns(runs, args.rounds)
  rows = []
  for case in args.cases:
    *parts, whole = (speeds[case, x] for x in ('input', 'step', 'train.py'))
    ratio = measure.ratio(whole, list(map(min, *parts)), '>= 0.9')
    rows.append((case, *map(measure.median, (*parts, whole)), ratio))
  print(machine.describe('jax', 'jaxlib', 'flax'), end='\n\n')
  print(f'{len(device)} cores compute, {len(others)} decode.\n')
  header = ('clips/s', 'input', 'step', 'train.py', 'train.py / slower part')
  print(measure.table(header, rows))


if __name__ == '__main__':
  measure.run(main)

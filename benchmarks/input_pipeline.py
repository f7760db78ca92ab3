"""How fast clips come: ours, the reference's way, and the bare decoder.

  python -m benchmarks.input_pipeline
  python -m benchmarks.input_pipeline --data_dir=data --dataset=videos/mine

The first form writes its own videos, once. Clips are the paper's for Kinetics:
32 frames, stride 2, scale jitter 0.9 to 1.33 of the short side 256, crop 224.
Ours is also to be flipped and recoloured on the accelerator, the reference's
way does that on the host (`reference_pipeline`). All are measured in turn, in
several rounds, each in processes of its own; a number is the rounds' median,
and a ratio's spread is that of the rounds.
"""

import argparse
import importlib
import importlib.metadata
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import apart, markdown
from benchmarks.flags import at_least, make_folder, positive
from benchmarks.measure import Measurement
from vivit_jax.errors import exit_on_interrupt, exit_on_user_error

_CLIP = {'frames': 32, 'stride': 2, 'short_side': 256}
_CROP = 224
_SCALE_JITTER = (0.9, 1.33)
_REFERENCE = "the reference's way, tf.data"
_OURS_VIDEO = 'ours, stored as video'
_DECODE, _CUT = 'bare decode', 'bare decode + crop + resize'
_PACKAGES = ('grain', 'opencv-python-headless', 'numpy', 'tensorflow-cpu')

Rounds = dict[str, list[Measurement]]


def _apart(module: str, function: str, *args: Any, **keys: Any) -> Any:
  """Calls a function of this room in a new process, which ends with it."""
  with apart.process() as pool:
    return apart.call(pool, _call, f'benchmarks.{module}', function, args, keys)


def _call(module: str, function: str, args: tuple, keys: dict) -> Any:
  return getattr(importlib.import_module(module), function)(*args, **keys)


def _ours(workers: int) -> str:
  return f'ours, {workers} workers'


def _worker_counts(cores: int) -> list[int]:
  """Returns 0, 1, 2, 3 and then powers of two, and all cores."""
  powers = [2**power for power in range(2, 10)]
  return sorted({n for n in (0, 1, 2, 3, *powers) if n < cores} | {cores})


def _measure(
  flags: argparse.Namespace, records: pathlib.Path | None, cores: int
) -> Rounds:
  """Measures everything in turn, `flags.rounds` times."""
  ours = _CLIP | {
    'crop': (_CROP, _CROP),
    'scale_jitter': _SCALE_JITTER,
    'short_videos': 'loop',
    'dataset': flags.dataset,
    'data_dir': flags.data_dir,
    'split': flags.split,
    'seconds': flags.seconds,
  }
  batches = {'batch_size': flags.batch_size}
  tasks = {
    _DECODE: ('host_pipeline', 'decode_bare', ours | {'cut': False}),
    _CUT: ('host_pipeline', 'decode_bare', ours | {'cut': True}),
  }
  for name in tasks:
    tasks[name][-1]['workers'] = cores
  if records is not None:
    clip = _CLIP | {'crop': _CROP, 'folder': str(records)}
    tasks[_REFERENCE] = (
      'reference_pipeline',
      'run',
      clip | batches | {'seconds': flags.seconds},
    )
  counts = [cores] if flags.goals_alone else _worker_counts(cores)
  for workers in reversed(counts):
    keys = ours | batches | {'workers': workers}
    tasks[_ours(workers)] = ('host_pipeline', 'run', keys)
  if flags.stored_as_video:
    keys = ours | batches | {'workers': cores, 'dataset': flags.stored_as_video}
    tasks[_OURS_VIDEO] = ('host_pipeline', 'run', keys)
  rounds = {name: [] for name in tasks}
  for number in range(flags.rounds):
    order = list(tasks) if number % 2 == 0 else list(tasks)[::-1]
    for name in order:
      module, function, keys = tasks[name]
      measured = _apart(module, function, **keys)
      rounds[name].append(measured)
      print(
        f'  round {number + 1}: {name}: {measured.speed:.1f} clips/s',
        file=sys.stderr,
        flush=True,
      )
  return rounds


def _median(rounds: Sequence[Measurement], attribute: str) -> float | None:
  values = [getattr(measured, attribute) for measured in rounds]
  return None if None in values else statistics.median(values)


def _print_table(rounds: Rounds) -> None:
  columns = (
    ('clips/s', 'speed', 1, '.1f'),
    ('CPU ms/clip', 'clip_seconds', 1e3, '.1f'),
    ('MB/clip', 'clip_bytes', 1e-6, '.1f'),
    ('MB memory', 'memory', 1e-6, '.0f'),
    ('MB/worker', 'worker_memory', 1e-6, '.0f'),
  )
  rows = []
  for name, measured in sorted(rounds.items()):
    cells = [name]
    for _, attribute, factor, form in columns:
      value = _median(measured, attribute)
      cells.append('' if value is None else format(value * factor, form))
    rows.append(cells)
  header = ('', *(title for title, *_ in columns))
  print('\n' + markdown.table(header, rows))


def _ratio(
  title: str, above: list, below: list, attribute: str, goal: str | None
) -> tuple[str, str, str]:
  """Returns the median of the rounds' ratios, and whether it is good enough."""
  pairs = [
    (getattr(a, attribute), getattr(b, attribute)) for a, b in zip(above, below)
  ]
  if not pairs or not all(map(all, pairs)):
    return title, 'not measured', goal or ''
  median = statistics.median(a / b for a, b in pairs)
  reached = markdown.goal(median, goal) if goal else ''
  return title, markdown.ratio(*zip(*pairs)), reached


def _print_ratios(rounds: Rounds, cores: int) -> None:
  ours, one = _ours(cores), _ours(min(1, cores))
  mine, bare = rounds[ours], rounds[_CUT]
  reference = rounds.get(_REFERENCE, [])
  video = rounds.get(_OURS_VIDEO, [])
  way = "ours / the reference's way"
  rows = (
    _ratio(f'speed, {way}', mine, reference, 'speed', '>= 3'),
    _ratio(f'speed, ours / {_CUT}', mine, bare, 'speed', '>= 0.7'),
    _ratio(f'bytes a clip, {way}', mine, reference, 'clip_bytes', '<= 0.25'),
    _ratio(f'memory, {way}', mine, reference, 'memory', '<= 0.25'),
    # CPU time suffers less than speed from what else runs on the machine.
    _ratio(f'CPU time, {way}', mine, reference, 'clip_seconds', None),
    _ratio(f'CPU time, {_CUT} / ours', bare, mine, 'clip_seconds', None),
    _ratio('speed, stored as video / as JPEG', video, mine, 'speed', None),
  )
  header = ('ratio', 'median (rounds)', 'goal')
  print('\n' + markdown.table(header, rows))
  whole = _median(mine, 'speed')
  told = f'{whole:.1f} clips/s with {cores} workers, {whole / cores:.1f} a core'
  if one in rounds:
    told += f'; {_median(rounds[one], "speed"):.1f} with one'
  print(f'\nOurs: {told}.')


def _print_versions() -> None:
  versions = []
  for package in _PACKAGES:
    try:
      versions.append(f'{package} {importlib.metadata.version(package)}')
    except importlib.metadata.PackageNotFoundError:
      versions.append(f'no {package}')
  print(', '.join(versions) + '.')


def _records(flags: argparse.Namespace) -> pathlib.Path | None:
  """Returns the folder of the reference's records; None without TensorFlow."""
  name = f'{flags.dataset}/{flags.split}-{flags.videos}'.replace('/', '_')
  folder = pathlib.Path(flags.cache, 'tfrecords', name)
  try:
    importlib.metadata.version('tensorflow-cpu')
    if not folder.exists():
      make_folder('--cache', folder.parent)
    _apart(
      'reference_pipeline',
      'write_records',
      str(folder),
      flags.dataset,
      flags.data_dir,
      flags.split,
      flags.videos,
    )
  except (ImportError, importlib.metadata.PackageNotFoundError) as error:
    print(
      f"without TensorFlow, the reference's way is left out ({error})",
      file=sys.stderr,
    )
    return None
  return folder


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.input_pipeline',
    description='Compares the speed and memory of input pipelines.',
  )
  add = parser.add_argument
  add('--cache', default='data/benchmark', help='folder of what is written')
  add('--data_dir', help='where prepared datasets are, to measure one of them')
  add('--dataset', help='its name')
  add('--split', default='train', help='its split (train)')
  add(
    '--videos',
    type=at_least(8),
    default=24,
    help='how many are written, where none are there yet (24)',
  )
  add('--batch_size', type=at_least(1), default=8, help='clips of a batch (8)')
  add('--seconds', type=positive, default=3.0, help='of each measurement (3)')
  add('--rounds', type=at_least(1), default=3, help='of all measurements (3)')
  add(
    '--goals_alone',
    action='store_true',
    help='not stored as video, and not with fewer workers than cores',
  )
  flags = parser.parse_args()
  if bool(flags.data_dir) != bool(flags.dataset):
    parser.error('--data_dir and --dataset go together')
  if flags.dataset:
    _apart('host_pipeline', 'check', flags.dataset, flags.data_dir, flags.split)
  begin = time.monotonic()
  flags.stored_as_video = None
  if not flags.dataset:
    storages = ('jpeg',) if flags.goals_alone else ('jpeg', 'video')
    names = _apart('clips', 'prepared', flags.cache, flags.videos, storages)
    flags.data_dir, flags.dataset = flags.cache, names['jpeg']
    flags.stored_as_video = names.get('video')
    for storage, name in names.items():
      size = _apart('clips', 'gigabytes_an_hour', flags.cache, name)
      print(f'Stored as {storage}: {size:.2f} GB an hour of video.')
  cores = _apart('host_pipeline', 'cores')
  records = _records(flags)
  _print_versions()
  print(
    f'Medians of {flags.rounds} rounds; clips of {_CLIP["frames"]} frames at '
    f'stride {_CLIP["stride"]}, crop {_CROP}.',
    flush=True,
  )
  rounds = _measure(flags, records, cores)
  _print_table(rounds)
  _print_ratios(rounds, cores)
  print(f'in {time.monotonic() - begin:.0f} s', file=sys.stderr)
  return 0


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main())

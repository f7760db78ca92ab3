"""Sweeps: the runs that a config file lists, each trained by train.py.

Besides `get_config`, a config file may define `sweep`. It returns a list with
one dict per run, {dotted key: value}:

  def sweep():
    return [{'optim.learning_rate': rate} for rate in (0.1, 0.3)]

A run's workdir is `<workdir>/<name>`. Besides the files of train.py, it has
`experiment.py` (the config), `log.txt` (the output) and, after exit code 0, an
empty file `finished`.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import pprint
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from vivit_jax import commands, config_file, files, locks, typed
from vivit_jax import config as configs
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import family as families

_ROOT = pathlib.Path(__file__).absolute().parents[1]
_TRAIN = (sys.executable, str(_ROOT / 'train.py'))
_MAX_NAME = 120  # characters; file systems allow 255 bytes
_EXPERIMENT = '''"""A run of a sweep: {name}. Written by sweep.py."""

from vivit_jax import config as configs
from vivit_jax import typed

VALUES = {values}


def get_config():
  return typed.to_config_dict(configs.from_mapping(VALUES))
'''
_SLURM = """#!/usr/bin/env bash
# A sweep, one task per run: sbatch --gres=gpu:8 --time=24:00:00 FILE
#SBATCH --array=0-{last}
#SBATCH --ntasks-per-node=1 --open-mode=append --requeue --signal=B:TERM@90
#SBATCH --output="{folder}/slurm-%A-%a.txt"
runs=({names})
workdir={quoted}/${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}
export FINISHED=$workdir/finished REPOSITORY={root} PYTHON={python}
if [[ -e $FINISHED ]]; then exit 0; fi
exec bash {launcher} --config="$workdir/experiment.py" --workdir="$workdir"
"""


@dataclasses.dataclass(frozen=True)
class Run:
  """A run: the name of its folder, its overrides and its checked config."""

  name: str
  overrides: dict[str, Any]
  config: TrainConfig


def plan(base: TrainConfig, path: str, given: Iterable[str] = ()) -> list[Run]:
  """Returns the runs of a config file's `sweep`, with checked configs.

  Args:
    base: config of the file's `get_config`, with the overrides of flags.
    path: the config file.
    given: keys that are set by flags.

  Raises:
    UserError: `sweep` fails or returns no list of dicts, a key or value is
      wrong, or a flag sets it too.
  """
  overrides, known, given = _read(path), configs.keys(), list(given)
  for key in dict.fromkeys(key for run in overrides for key in run):
    if key in given:
      raise UserError(
        f'{key} is set by a flag and by sweep() of {path}: remove one of them.'
      )
    if key not in known:
      section = f"'{key}' is a section; override one of its keys."
      wrong = section if configs.is_key(key) else configs.unknown_key(key)
      raise UserError(f'sweep() of {path}: {wrong}')
  runs = []
  for name, run in zip(names(overrides), overrides):
    try:
      runs.append(Run(name, run, _override(base, run, given)))
    except UserError as error:
      raise UserError(f'sweep() of {path}, run {name}: {error}') from None
  return runs


def _read(path: str) -> list[dict[str, Any]]:
  """Returns the overrides of a config file's `sweep`, without duplicates."""
  runs = None
  try:
    returned = runpy.run_path(path)['sweep']()
    # JSON turns NumPy values into Python values.
    runs = json.loads(json.dumps(returned, default=lambda x: x.tolist()))
  except Exception as error:  # a config file may raise anything
    if mistake := config_file.mistake(error, path):
      raise mistake from None
  if not runs or not all(isinstance(run, dict) for run in runs):
    raise UserError(
      f'{path} needs a function sweep that returns a list of dicts, such as '
      "[{'optim.learning_rate': 0.1}]."
    )
  return [run for number, run in enumerate(runs) if run not in runs[:number]]


def _override(
  base: TrainConfig, run: dict[str, Any], given: Sequence[str]
) -> TrainConfig:
  values = dataclasses.asdict(base)
  if 'model.family' in run:
    values['model'] = families.as_family(values['model'], run['model.family'])
  # A new family resets options; flags set them again.
  flat = typed.flat(base)
  flags = {key: flat[key] for key in given if key in flat}
  for key, value in {**flags, **run}.items():
    *sections, name = key.split('.')
    part = values
    for section in sections:
      part = part[section]
    part[name] = value
  config = configs.from_mapping(values)
  configs.check(config)
  return config


def names(runs: Sequence[dict[str, Any]]) -> list[str]:
  """Returns a short, unique folder name for each run.

  A name lists the keys that differ between runs, without their sections if that
  is unambiguous: 'learning_rate=0.1,batch_size=64'.
  """
  keys = list(dict.fromkeys(key for run in runs for key in run))
  texts = {key: {json.dumps(run.get(key, ())) for run in runs} for key in keys}
  keys = [key for key in keys if len(texts[key]) > 1] or keys
  ends = Counter(key.rpartition('.')[2] for key in keys)
  result = []
  for run in runs:
    parts = []
    for key in keys:
      end = key.rpartition('.')[2]
      if key in run:
        parts.append(f'{end if ends[end] == 1 else key}={_word(run[key])}')
    result.append(','.join(parts) or 'default')
  same = Counter(name.lower() for name in result)  # disks may ignore case
  for number, (name, run) in enumerate(zip(result, runs)):
    if same[name.lower()] > 1 or len(name) > _MAX_NAME:
      text = json.dumps(run, sort_keys=True).encode()
      digest = hashlib.sha256(text).hexdigest()[:8]
      result[number] = f'{name[: _MAX_NAME - 9]}-{digest}'
  return result


def _word(value: Any) -> str:
  """Returns a value as text that is valid in a file name."""
  if isinstance(value, list | tuple):
    return 'x'.join(_word(part) for part in value)
  text = f'{value:.6g}' if isinstance(value, float) else str(value)
  return re.sub(r'[^\w.+-]+', '-', text, flags=re.ASCII).strip('-')


@contextlib.contextmanager
def _claimed(runs: Sequence[Run], folder: pathlib.Path) -> Iterator[None]:
  """Checks all runs, locks the folder and writes each `experiment.py`.

  Raises:
    UserError: a run that cannot start, a workdir with another config, or
      another sweep in the folder. Nothing is written.
  """
  from vivit_jax.training import checks  # slow: imports jax

  for run in runs:
    try:
      checks.check_alone(run.config, folder / run.name)
    except UserError as error:
      raise UserError(f'run {run.name}: {error}') from None
    workdirs.check(folder / run.name, run.config)
  folder.mkdir(parents=True, exist_ok=True)
  in_use = f'another sweep is running in {folder}: wait until it ends.'
  with locks.locked(folder, in_use):
    for run in runs:
      if workdirs.extends(folder / run.name, run.config):
        (folder / run.name / 'finished').unlink(missing_ok=True)
      _write_experiment(run, folder / run.name / 'experiment.py')
    yield


def _write_experiment(run: Run, path: pathlib.Path) -> None:
  values = dataclasses.asdict(run.config)
  for part, key in (
    (values, 'init_from'), (values, 'class_order'),
    (values['data'], 'data_dir'),
  ):  # fmt: skip
    part[key] = part[key] and files.absolute(part[key])  # for Slurm
  text = pprint.pformat(values, sort_dicts=False)
  path.parent.mkdir(exist_ok=True)
  with files.replacing(path) as unfinished:
    unfinished.write_text(_EXPERIMENT.format(name=run.name, values=text))


def run_all(
  runs: Sequence[Run],
  folder: pathlib.Path,
  parallel: int = 1,
  program: Sequence[str] = _TRAIN,
) -> int:
  """Trains the unfinished runs; a failed run does not stop the others.

  SIGINT and SIGTERM are forwarded to the runs, which write checkpoints and end.

  Args:
    runs: from `plan`.
    folder: workdir of the sweep.
    parallel: number of runs at a time; they split the devices of
      CUDA_VISIBLE_DEVICES, if it is set.
    program: command line to which --config and --workdir are added.

  Returns:
    The exit code: 0; 1 if a run failed; 130 or 143 after a signal.

  Raises:
    UserError: a run cannot start, or another sweep is running in the folder.
  """
  devices = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
  slots = list(range(parallel))
  active: dict[str, subprocess.Popen] = {}
  received: list[int] = []
  failed: list[str] = []

  def forward(signum, _):
    received.append(signum)
    for process in list(active.values()):
      process.send_signal(signum)

  def train(run: Run) -> None:
    workdir = folder / run.name
    if received:
      return
    if (workdir / 'finished').exists():
      print(f'{run.name}: already finished', flush=True)
      return
    slot = slots.pop()
    own = {'PYTHONUNBUFFERED': '1', commands.SWEEP: str(os.getpid())}
    if len(devices) >= parallel > 1:
      own['CUDA_VISIBLE_DEVICES'] = ','.join(devices[slot::parallel])
    flags = [f'--config={workdir}/experiment.py', f'--workdir={workdir}']
    with open(workdir / 'log.txt', 'ab') as log:
      process = active[run.name] = subprocess.Popen(
        [*program, *flags],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env=os.environ | own,
        start_new_session=True,  # `forward` handles the terminal's Ctrl-C
      )  # fmt: skip
    for signum in received:  # `forward` may have missed the new process
      process.send_signal(signum)
    print(f'{run.name}: started; its log is {log.name}', flush=True)
    code = process.wait()
    slots.append(slot)
    if code == 0:
      (workdir / 'finished').touch()
    elif not received:
      failed.append(run.name)
    print(f'{run.name}: ended with code {code}', flush=True)

  with (
    _claimed(runs, folder),
    _signals_to(forward),
    concurrent.futures.ThreadPoolExecutor(parallel) as pool,
  ):
    list(pool.map(train, runs))
  for name in failed:
    print(f'failed: {folder / name / "log.txt"}')
  if received:
    print('stopped; the same command resumes the sweep')
    return 128 + received[0]
  return 1 if failed else 0


@contextlib.contextmanager
def _signals_to(handler: Callable[[int, Any], None]) -> Iterator[None]:
  """Lets a function handle SIGINT and SIGTERM."""
  signals = (signal.SIGINT, signal.SIGTERM)
  before = {signum: signal.signal(signum, handler) for signum in signals}
  try:
    yield
  finally:
    for signum, previous in before.items():
      signal.signal(signum, previous)


def table(runs: Sequence[Run], folder: pathlib.Path, metric: str) -> str:
  """Returns a table of each run's best value of a metric, the best run first.

  Args:
    runs: from `plan`.
    folder: workdir of the sweep.
    metric: name in metrics.jsonl. Smaller is better for losses, larger for all
      other metrics.

  Raises:
    UserError: no run has the metric.
  """
  from vivit_jax.evaluation.page import curves

  sign = -1 if configs.less_is_better(metric) else 1
  rows, known = [], set()
  for run in runs:
    metrics = curves.read(folder / run.name)
    known |= metrics.keys()
    points = [
      (sign * value, step)
      for step, value in zip(*metrics.get(metric, ((), ())))
      if math.isfinite(value)
    ]
    best = max(points, key=lambda point: point[0], default=(-math.inf, '-'))
    rows.append((*best, run.name))
  if metric not in known:
    names = ', '.join(sorted(known)) or 'no metrics yet'
    raise UserError(
      f"--metric is '{metric}'; the runs in {folder} have {names}."
      f'{nearest(metric, known)}'
    )
  width = max(len(metric), 8)
  lines = [f'{metric:>{width}}  {"step":>8}  run']
  for score, step, name in sorted(rows, key=lambda row: -row[0]):
    text = f'{sign * score:.4f}' if math.isfinite(score) else '-'
    lines.append(f'{text:>{width}}  {step:>8}  {name}')
  return '\n'.join(lines)


def write_slurm(runs: Sequence[Run], folder: pathlib.Path, path: str) -> None:
  """Writes `experiment.py` of each run, and a job array script for `sbatch`.

  Raises:
    UserError: as `run_all`, or the script cannot be written.
  """
  folder = folder.absolute()
  script = _SLURM.format(
    last=len(runs) - 1,
    folder=folder,
    quoted=shlex.quote(str(folder)),
    names=' '.join(f"'{run.name}'" for run in runs),
    root=shlex.quote(str(_ROOT)),
    python=shlex.quote(sys.executable),
    launcher=shlex.quote(str(_ROOT / 'launch' / 'slurm.sh')),
  )
  try:
    with _claimed(runs, folder):
      pathlib.Path(path).write_text(script)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None

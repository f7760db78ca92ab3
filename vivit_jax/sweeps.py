"""Sweeps: the runs that a config file lists, each trained by train.py.

A config file may define, beside `get_config`, the function `sweep`. It returns
a list of overrides, one dict of dotted keys and values for each run:

  def sweep():
    return [{'optim.learning_rate': rate} for rate in (0.1, 0.3)]

The folder of a run is `<workdir>/<name>`: the workdir of train.py, with
`experiment.py`, the run's config; `log.txt`, its output; and `finished`, an
empty file, once train.py has returned 0.
"""

import concurrent.futures
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
from collections.abc import Iterable, Sequence
from typing import Any

from vivit_jax import commands, config_file, files, locks
from vivit_jax import config as configs
from vivit_jax.checkpoints import run as workdirs
from vivit_jax.config import TrainConfig
from vivit_jax.errors import INTERRUPTED, TERMINATED, UserError, nearest
from vivit_jax.models import family as families

_ROOT = pathlib.Path(__file__).absolute().parents[1]
_TRAIN = (sys.executable, str(_ROOT / 'train.py'))
_MAX_NAME = 120  # characters; a file system takes 255 bytes
_EXPERIMENT = '''"""A run of a sweep: {name}. Written by sweep.py."""

from vivit_jax import config as configs
from vivit_jax import typed

VALUES = {values}


def get_config():
  return typed.to_config_dict(configs.from_mapping(VALUES))
'''
_SLURM = """#!/usr/bin/env bash
# A sweep, one run a task: sbatch --gres=gpu:8 --time=24:00:00 FILE
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
  """One run: the name of its folder, its overrides, and its checked config."""

  name: str
  overrides: dict[str, Any]
  config: TrainConfig


def plan(base: TrainConfig, path: str, given: Iterable[str] = ()) -> list[Run]:
  """Returns the runs of a config file's `sweep`, all checked.

  Args:
    base: config of the file's `get_config`, with the overrides of flags.
    path: of the file.
    given: the keys that flags override.

  Raises:
    UserError: code that fails, a result that is no list of dicts, an unknown
      key, a key that is also a flag, or values that do not fit.
  """
  overrides, known = _read(path), configs.keys()
  for key in dict.fromkeys(key for run in overrides for key in run):
    if key in given:
      raise UserError(
        f'{key} is overridden by a flag and by sweep() of {path}: leave one of '
        'them out.'
      )
    if key not in known:
      section = f"'{key}' is a section of keys; override one of them."
      wrong = section if configs.is_key(key) else configs.unknown_key(key)
      raise UserError(f'sweep() of {path}: {wrong}')
  runs = []
  for name, run in zip(names(overrides), overrides):
    try:
      runs.append(Run(name, run, _override(base, run)))
    except UserError as error:
      raise UserError(f'sweep() of {path}, run {name}: {error}') from None
  return runs


def _read(path: str) -> list[dict[str, Any]]:
  """Returns what `sweep` of a config file returns, without duplicates."""
  runs = None
  try:
    found = runpy.run_path(path)['sweep']()
    # Values of NumPy become Python's.
    runs = json.loads(json.dumps(found, default=lambda array: array.tolist()))
  except Exception as error:  # whatever a file may raise
    if mistake := config_file.mistake(error, path):
      raise mistake from None
  if not runs or not all(isinstance(run, dict) for run in runs):
    raise UserError(
      f'{path} needs a function sweep that returns a list of dicts, such as '
      "[{'optim.learning_rate': 0.1}]."
    )
  return [run for number, run in enumerate(runs) if run not in runs[:number]]


def _override(base: TrainConfig, run: dict[str, Any]) -> TrainConfig:
  values = dataclasses.asdict(base)
  if 'model.family' in run:
    values['model'] = families.as_family(values['model'], run['model.family'])
  for key, value in run.items():
    *sections, name = key.split('.')
    part = values
    for section in sections:
      part = part[section]
    part[name] = value
  config = configs.from_mapping(values)
  configs.check(config)
  return config


def names(runs: Sequence[dict[str, Any]]) -> list[str]:
  """Returns a name for each run: short, safe as a folder, and unique.

  As in 'learning_rate=0.1,batch_size=64': the keys in which the runs differ,
  without their sections where that is clear.
  """
  keys = list(dict.fromkeys(key for run in runs for key in run))
  texts = {key: {json.dumps(run.get(key, ())) for run in runs} for key in keys}
  keys = [key for key in keys if len(texts[key]) > 1] or keys
  ends = Counter(key.rpartition('.')[2] for key in keys)
  found = []
  for run in runs:
    pairs = [(key, key.rpartition('.')[2]) for key in keys if key in run]
    parts = [
      f'{end if ends[end] == 1 else key}={_word(run[key])}'
      for key, end in pairs
    ]
    found.append(','.join(parts) or 'default')
  same = Counter(name.lower() for name in found)  # as some file systems do
  for number, (name, run) in enumerate(zip(found, runs)):
    if same[name.lower()] > 1 or len(name) > _MAX_NAME:
      text = json.dumps(run, sort_keys=True).encode()
      digest = hashlib.sha256(text).hexdigest()[:8]
      found[number] = f'{name[: _MAX_NAME - 9]}-{digest}'
  return found


def _word(value: Any) -> str:
  """Returns a value in characters that every file system takes."""
  if isinstance(value, list | tuple):
    return 'x'.join(_word(part) for part in value)
  text = f'{value:.6g}' if isinstance(value, float) else str(value)
  return re.sub(r'[^\w.+-]+', '-', text, flags=re.ASCII).strip('-')


def write(runs: Sequence[Run], folder: pathlib.Path) -> None:
  """Writes each run's `experiment.py`, if all can begin or go on there.

  Raises:
    UserError: a run that cannot, or a folder that holds another config.
  """
  from vivit_jax.training import checks  # it takes a second

  for run in runs:
    try:
      checks.check_alone(run.config, folder / run.name)
    except UserError as error:
      raise UserError(f'run {run.name}: {error}') from None
    workdirs.check(folder / run.name, run.config)
  for run in runs:
    values = dataclasses.asdict(run.config)
    for part, key in (
      (values, 'init_from'), (values, 'class_order'),
      (values['data'], 'data_dir'),
    ):  # fmt: skip
      part[key] = part[key] and os.path.abspath(part[key])  # for Slurm
    text = pprint.pformat(values, sort_dicts=False)
    path = folder / run.name / 'experiment.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as unfinished:
      unfinished.write_text(_EXPERIMENT.format(name=run.name, values=text))


def run_all(
  runs: Sequence[Run],
  folder: pathlib.Path,
  parallel: int = 1,
  program: Sequence[str] = _TRAIN,
) -> int:
  """Trains all runs that are not finished; goes on after one that fails.

  SIGINT and SIGTERM are handed to the runs, which write checkpoints and end.

  Args:
    runs: of `plan`.
    folder: of the sweep.
    parallel: runs at a time; they share out CUDA_VISIBLE_DEVICES, if set.
    program: called with --config=FILE and --workdir=FOLDER.

  Returns:
    The exit code: 0, 1 if a run failed, or that of a signal.
  """
  write(runs, folder)
  devices = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
  slots = list(range(parallel))
  active: dict[str, subprocess.Popen] = {}
  received, failed = [], []

  def hand_on(signum, _):
    received.append(signum)
    for process in list(active.values()):
      process.send_signal(signum)

  def train(run: Run) -> None:
    workdir = folder / run.name
    if received:
      return
    if (workdir / 'finished').exists():
      print(f'{run.name}: finished before', flush=True)
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
        start_new_session=True,  # the terminal's Ctrl-C is for this process
      )  # fmt: skip
    for signum in received:  # since the look above
      process.send_signal(signum)
    print(f'{run.name}: begins; its log is {log.name}', flush=True)
    code = process.wait()
    slots.append(slot)
    if code == 0:
      (workdir / 'finished').touch()
    elif not received:
      failed.append(run.name)
    print(f'{run.name}: ended with code {code}', flush=True)

  in_use = f'another sweep is running in {folder}: wait until it ends.'
  which = (signal.SIGINT, signal.SIGTERM)
  with locks.locked(folder, in_use):
    before = [signal.signal(signum, hand_on) for signum in which]
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
      list(pool.map(train, runs))
    for signum, handler in zip(which, before):
      signal.signal(signum, handler)
  for name in failed:
    log = folder / name / 'log.txt'
    lines = log.read_text(errors='replace').strip().splitlines() or [
      'no output'
    ]
    print(f'failed: {name}: {lines[-1]} ({log})')
  if received:
    print('stopped; the same command goes on')
    return TERMINATED if received[0] == signal.SIGTERM else INTERRUPTED
  return 1 if failed else 0


def table(
  runs: Sequence[Run], folder: pathlib.Path, metric: str, value: str = 'best'
) -> str:
  """Returns a metric of each run, the best run first.

  Args:
    runs: of `plan`.
    folder: of the sweep.
    metric: a name in metrics.jsonl. Less of a loss is better, more of others.
    value: the 'best' or the 'last' of each run.

  Raises:
    UserError: a metric that no run has.
  """
  sign = -1 if configs.less_is_better(metric) else 1
  rows, known = [], set()
  for run in runs:
    path = folder / run.name / 'metrics.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    reports = [json.loads(line) for line in lines if line.endswith('}')]
    known |= {key for report in reports for key in report} - {'step'}
    scores = [
      (sign * report[metric], report['step'])
      for report in reports
      if math.isfinite(report.get(metric, math.nan))
    ] or [(-math.inf, '-')]
    score = max(scores, key=lambda x: x[0]) if value == 'best' else scores[-1]
    finished = (folder / run.name / 'finished').exists()
    rows.append((*score, 'finished' if finished else '-', run.name))
  if metric not in known:
    there = f'; there are {", ".join(sorted(known))}.' if known else ' yet.'
    hint = nearest(metric, known)
    raise UserError(f"no run in {folder} has '{metric}'{there}{hint}")
  width = max(len(metric), 8)
  lines = [f'{metric:>{width}}  {"step":>8}  {"state":8}  run']
  for score, step, state, name in sorted(rows, key=lambda row: -row[0]):
    text = f'{sign * score:.4f}' if math.isfinite(score) else '-'
    lines.append(f'{text:>{width}}  {step:>8}  {state:8}  {name}')
  return '\n'.join(lines)


def write_slurm(runs: Sequence[Run], folder: pathlib.Path, path: str) -> None:
  """Writes the runs' experiments, and a script for `sbatch`."""
  folder = folder.absolute()
  write(runs, folder)
  script = _SLURM.format(
    last=len(runs) - 1,
    folder=folder,
    quoted=shlex.quote(str(folder)),
    names=' '.join(f"'{run.name}'" for run in runs),  # for their commas
    root=shlex.quote(str(_ROOT)),
    python=shlex.quote(sys.executable),
    launcher=shlex.quote(str(_ROOT / 'launch' / 'slurm.sh')),
  )
  try:
    pathlib.Path(path).write_text(script)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None

"""What there is to say of a sweep's runs: lists, tables, a Slurm script."""

import json
import math
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence

from vivit_jax.config import less_is_better
from vivit_jax.errors import UserError, nearest
from vivit_jax.sweeps import folders, processes
from vivit_jax.sweeps.grid import Run

WHICH = ('best', 'last')  # value of a metric


def show(runs: Sequence[Run]) -> str:
  """Returns the runs, each with its overrides, for people."""
  lines = [f'{len(runs)} runs']
  for run in runs:
    lines.append(run.name)
    lines += [f'  {key} = {value!r}' for key, value in run.overrides.items()]
  return '\n'.join(lines)


def table(
  runs: Sequence[Run],
  folder: str | os.PathLike,
  metric: str,
  which: str = 'best',
) -> str:
  """Returns the runs, the best first, with a metric of theirs.

  Args:
    runs: of `sweeps.plan`.
    folder: of the sweep.
    metric: a name in metrics.jsonl, as in 'validation/top1'. A loss is better
      if it is smaller, anything else if it is larger.
    which: value of each run: its 'best' or its 'last'.

  Raises:
    UserError: a metric that no run has.
  """
  folder = pathlib.Path(folder)
  least = less_is_better(metric)
  rows, known = [], set()
  for run in runs:
    found = list(_metrics(folder / run.name))
    known.update(key for values in found for key in values if key != 'step')
    scores = [
      (values[metric], values['step'])
      for values in found
      if math.isfinite(values.get(metric, math.nan))
    ]
    score = None
    if scores:
      best = min if least else max
      score = scores[-1] if which == 'last' else best(scores, key=_value)
    rows.append((score, folders.state(folder / run.name), run.name))
  if metric not in known:
    there = f'; there are {", ".join(sorted(known))}' if known else ' yet'
    raise UserError(
      f"no run in {folder} has the metric '{metric}'{there}."
      f'{nearest(metric, known)}'
    )
  sign = 1 if least else -1
  rows.sort(key=lambda row: sign * row[0][0] if row[0] else math.inf)
  width = max(len(metric), 8)
  lines = [f'{metric:>{width}}  {"step":>8}  {"state":9}  run']
  for score, state, name in rows:
    value, step = ('-', '-') if score is None else (f'{score[0]:.4f}', score[1])
    lines.append(f'{value:>{width}}  {step:>8}  {state:9}  {name}')
  return '\n'.join(lines)


def _value(score: tuple[float, int]) -> float:
  return score[0]


def _metrics(folder: pathlib.Path) -> Iterator[dict[str, float]]:
  """Reads what a run logged; lines that a hard stop cut off are left out."""
  try:
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
  except FileNotFoundError:
    return
  for line in lines:
    try:
      values = json.loads(line)
    except ValueError:
      continue
    if isinstance(values, dict) and 'step' in values:
      yield values


_SLURM = r"""#!/usr/bin/env bash
# A sweep of {count} runs as a Slurm array, one run a task. Written by sweep.py.
#
#   sbatch --gres=gpu:8 --time=24:00:00 {file}
#   sbatch --array=3 {file}           # one run alone
#
# A finished run is not trained again; DRY_RUN=1 bash {file} prints what would
# run. launch/slurm.sh says what happens at a preemption.
#SBATCH --job-name=sweep
#SBATCH --ntasks-per-node=1
#SBATCH --array=0-{last}
#SBATCH --output="{folder}/slurm-%A-%a.txt"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@90
set -euo pipefail

sweep={quoted_folder}
runs=(
{names}
)
name=${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}
if [[ -e $sweep/$name/{finished} ]]; then
  echo "$name was finished before"
  exit 0
fi
export FINISHED=$sweep/$name/{finished} FAILED=$sweep/$name/{failed}
export {group}=${{{group}:-{quoted_name}}}
export REPOSITORY={root} PYTHON=${{PYTHON:-{python}}}
# In this process's place, so that it gets Slurm's signal.
exec bash {slurm} --config="$sweep/$name/experiment.py" --workdir="$sweep/$name"
"""


def write_slurm(
  runs: Sequence[Run], folder: str | os.PathLike, path: str | os.PathLike
) -> None:
  """Writes the runs' experiments, and a script that `sbatch` takes.

  Raises:
    UserError: folders or a file that cannot be written, or runs of other
      configs in the folders.
  """
  folder, path = pathlib.Path(folder).absolute(), pathlib.Path(path)
  folders.write(runs, folder)
  root = processes.ROOT
  script = _SLURM.format(
    count=len(runs),
    last=len(runs) - 1,
    file=path,
    folder=folder,
    quoted_folder=shlex.quote(str(folder)),
    # In quotes also where they need none, for their commas.
    names='\n'.join(f"  '{run.name}'" for run in runs),
    finished=folders.FINISHED,
    failed=folders.FAILED,
    group=processes.GROUP,
    quoted_name=shlex.quote(folder.name),
    root=shlex.quote(str(root)),
    python=shlex.quote(sys.executable),
    slurm=shlex.quote(str(root / 'launch' / 'slurm.sh')),
  )
  try:
    path.write_text(script)
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}.') from None

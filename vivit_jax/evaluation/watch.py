"""evaluate.py --watch: scores the checkpoints of a run as they come.

It reads the workdir and changes nothing of the run, so that it may run on
another machine that sees the same files.
"""

import functools
import os
import pathlib
import re
import sys
import time

import numpy as np

from vivit_jax import config as configs
from vivit_jax import distributed
from vivit_jax.checkpoints import on_disk
from vivit_jax.checkpoints.overrides import override
from vivit_jax.errors import UserError
from vivit_jax.evaluation import candidates, folder
from vivit_jax.evaluation.offline import Session

_Written = tuple[int, int]  # a step, and when it was written

_NOTHING = -1
_LONGEST = 20.0  # seconds that other processes wait for the first one
_TRIES = 2  # at a checkpoint that cannot be read: a shared disk may be late


def watch(
  workdir: str | os.PathLike,
  *,
  out: str | os.PathLike | None = None,
  poll: float = 30.0,
  **changes,
) -> Session:
  """Scores each checkpoint of a run once, until the run's last step is scored.

  Those whose results are there, of the same weights and protocol, are not
  scored again.

  Args:
    workdir: of a run, which may not have begun.
    out: the folder of the results; None for `<workdir>/evaluation/<split>`.
    poll: seconds from one look at the workdir to the next.
    **changes: of the config, as `overrides.override` takes them.

  Returns:
    The scores.

  Raises:
    UserError: what no checkpoint can be scored with; at the end, checkpoints
      that could not be.
  """
  changed = functools.partial(override, **changes)
  if distributed.several():
    poll = min(poll, _LONGEST)
  _wait_for_run(pathlib.Path(workdir), poll)
  session = Session.of_run(workdir, changed, out)
  seen: set[_Written] = set()
  tries: dict[_Written, int] = {}
  failed: dict[int, str] = {}
  waiting = False
  while True:
    found = _next(workdir, seen)
    step, _ = found
    if step == _NOTHING:
      if not waiting:
        print(f'{workdir}: waiting for the next checkpoint', flush=True)
      waiting = True
      time.sleep(poll)
      continue
    waiting = False
    candidate = candidates.of_step(workdir, step, changed)
    try:
      session.score(candidate, session.out / candidate.folder, again=False)
      session.write_table()
    except folder.Unwritable:
      raise
    except UserError as error:
      tries[found] = tries.get(found, 0) + 1
      if step not in on_disk.steps(workdir):
        print(f'step {step} was removed meanwhile: it is skipped', flush=True)
      elif tries[found] < _TRIES:
        time.sleep(poll)
        continue
      else:
        failed[step] = str(error)
        print(f'error: step {step}: {error}', file=sys.stderr, flush=True)
    else:
      failed.pop(step, None)  # it was written again
    seen.add(found)
    if step == _last_step(workdir):
      break
  print(f'{workdir}: the training has ended at step {step}', flush=True)
  if failed:
    raise UserError(
      f'{len(failed)} of {len(dict(seen))} checkpoints could not be scored: '
      'steps '
      f'{", ".join(map(str, failed))}.'
    )
  return session


def _wait_for_run(workdir: pathlib.Path, poll: float) -> None:
  """Returns when the run has a checkpoint, and its config."""
  told = False
  while not (on_disk.steps(workdir) and (workdir / 'config.json').exists()):
    if not told:
      print(f'{workdir}: waiting for the first checkpoint', flush=True)
    told = True
    time.sleep(poll)


def _next(workdir: str | os.PathLike, seen: set[_Written]) -> _Written:
  """Returns the first checkpoint not seen, the same one in all processes.

  A run that sets a damaged step aside, and comes to it again, writes another
  checkpoint of the same name.
  """
  there = [(step, _written(workdir, step)) for step in on_disk.steps(workdir)]
  new = [each for each in there if each not in seen]
  found = np.array(new[0] if new else (_NOTHING, 0), np.int64)
  step, when = distributed.from_first(found).tolist()
  return step, when


def _written(workdir: str | os.PathLike, step: int) -> int:
  """Returns when a checkpoint was written, in ns; 0 where it does not tell.

  Of its description: the folder itself changes when Orbax finishes it.
  """
  folder = pathlib.Path(workdir, 'checkpoints', str(step))
  try:
    return (folder / 'description' / 'metadata').stat().st_mtime_ns
  except OSError:
    return 0


def _last_step(workdir: str | os.PathLike) -> int:
  """Returns the last step of a run, as its checkpoints tell, or `_NOTHING`."""
  last = _NOTHING
  try:
    about = on_disk.last_description(workdir)
  except UserError:  # all are damaged
    about = None
  videos = about and re.match(r'(\d+) videos', about.content or '')
  if videos:
    last = configs.training_steps(about.config, int(videos[1]))
  return int(distributed.from_first(np.array(last, np.int64)))

"""evaluate.py --watch: scores the checkpoints of a run as they are written."""

import collections
import contextlib
import functools
import os
import pathlib
import re
import sys
import time

import numpy as np

from vivit_jax import config as configs
from vivit_jax import distributed
from vivit_jax.checkpoints import metadata
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.checkpoints.overrides import override
from vivit_jax.errors import UserError
from vivit_jax.evaluation import checkpoint_selection, output_dir
from vivit_jax.evaluation.evaluate import Session

_Checkpoint = tuple[int, int]  # step, and time of writing in ns

_NONE = -1  # no step
_MAX_POLL = 20.0  # seconds; with several processes, some wait for another
_ATTEMPTS = 2  # to read a checkpoint: a shared disk may lag


def watch(
  workdir: str | os.PathLike,
  *,
  out: str | os.PathLike | None = None,
  poll: float = 30.0,
  **changes,
) -> None:
  """Scores each checkpoint of a run once, until the last step is scored.

  Those with results for the same weights and protocol are skipped. The run may
  start later. `poll` is the seconds between two checks. The other arguments are
  those of `evaluate.evaluate`.

  Raises:
    UserError: the settings are invalid; or, at the end, some checkpoints could
      not be scored.
  """
  changed = functools.partial(override, **changes)
  if distributed.several():
    poll = min(poll, _MAX_POLL)
  workdir = pathlib.Path(workdir)
  _wait_for_run(workdir, poll)
  session = Session(changed(workdirs.read_config(workdir)), out, workdir)
  seen: set[_Checkpoint] = set()
  attempts: collections.Counter[_Checkpoint] = collections.Counter()
  failed: set[int] = set()
  while True:
    checkpoint = _next(workdir, seen, poll)
    step, _ = checkpoint
    candidate = checkpoint_selection.of_step(workdir, step, changed)
    try:
      session.score(candidate, session.out / candidate.folder, again=False)
      session.write_table()
      failed.discard(step)  # a rewritten checkpoint may succeed
    except output_dir.UnwritableOutput:
      raise
    except UserError as error:
      attempts[checkpoint] += 1
      if step not in metadata.steps(workdir):
        print(f'step {step} was removed meanwhile: skipped', flush=True)
      elif attempts[checkpoint] < _ATTEMPTS:
        time.sleep(poll)
        continue
      else:
        failed.add(step)
        print(f'error: step {step}: {error}', file=sys.stderr, flush=True)
    seen.add(checkpoint)
    if step == _last_step(workdir):
      break
  print(f'{workdir}: the training has ended at step {step}', flush=True)
  if failed:
    raise UserError(
      f'{len(failed)} of {len(dict(seen))} checkpoints could not be scored '
      f'(steps {", ".join(map(str, sorted(failed)))}): see the errors above.'
    )


def _wait_for_run(workdir: pathlib.Path, poll: float) -> None:
  """Waits until the run has a checkpoint and a config."""

  def has_begun() -> bool:
    return metadata.has_checkpoints(workdir) and (
      (workdir / 'config.json').exists()
    )

  if not has_begun():
    print(f'{workdir}: waiting for the first checkpoint', flush=True)
  while not has_begun():  # not a collective, which may time out
    time.sleep(poll)


def _next(
  workdir: pathlib.Path, seen: set[_Checkpoint], poll: float
) -> _Checkpoint:
  """Waits for a new checkpoint, the same one in all processes.

  The time of writing tells apart two checkpoints of one step: a run replaces a
  damaged one.
  """
  waiting = False
  while True:
    steps = metadata.steps(workdir)
    checkpoints = [(step, _time_written(workdir, step)) for step in steps]
    new = [each for each in checkpoints if each not in seen]
    first = np.array(new[0] if new else (_NONE, 0), np.int64)
    step, when = distributed.from_first(first).tolist()
    if step != _NONE:
      return step, when
    if not waiting:
      print(f'{workdir}: waiting for the next checkpoint', flush=True)
    waiting = True
    time.sleep(poll)


def _time_written(workdir: pathlib.Path, step: int) -> int:
  """Returns when a checkpoint was written, in ns; 0 if unknown.

  It is the time of the metadata file: Orbax modifies the folder itself later.
  """
  folder = workdir / 'checkpoints' / str(step)
  try:
    return (folder / 'description' / 'metadata').stat().st_mtime_ns
  except OSError:
    return 0


def _last_step(workdir: pathlib.Path) -> int:
  """Returns the last step that a run will train, or `_NONE` if unknown."""
  last = _NONE
  with contextlib.suppress(UserError):  # all checkpoints are damaged
    description = metadata.last_description(workdir)
    content = description and description.content or ''
    videos = re.match(r'(\d+) videos', content)
    if videos:
      config = workdirs.read_config(workdir)  # it may have more epochs by now
      last = configs.training_steps(config, int(videos[1]))
  return int(distributed.from_first(np.array(last, np.int64)))

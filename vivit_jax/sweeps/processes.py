"""Runs of a sweep as processes of train.py, one or more at a time.

What they leave in their folders is told in `folders`.
"""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from vivit_jax import commands, locks
from vivit_jax.errors import INTERRUPTED, TERMINATED
from vivit_jax.sweeps import folders
from vivit_jax.sweeps.grid import Run

GROUP = 'WANDB_RUN_GROUP'  # which Weights & Biases reads by itself
ROOT = pathlib.Path(__file__).absolute().parents[2]
TRAIN = (sys.executable, str(ROOT / 'train.py'))
_SOME_FAILED = 1  # exit code
# Those of a run that a signal stopped: after its checkpoint, or before its
# first step.
_STOPPED = (INTERRUPTED, TERMINATED, -signal.SIGINT, -signal.SIGTERM)
_WAIT = 0.05  # seconds between looks at the processes


def run_all(
  runs: Sequence[Run],
  folder: str | os.PathLike,
  *,
  parallel: int = 1,
  program: Sequence[str] = TRAIN,
) -> int:
  """Trains what is not finished; goes on after a run that fails.

  Ctrl-C (or SIGTERM) is handed to the processes, which write a checkpoint and
  end; a second one makes them leave at once, a third kills them. They get
  SIGTERM when this process is killed. If
  CUDA_VISIBLE_DEVICES is set, the processes share its devices out.

  Args:
    runs: of `sweeps.plan`.
    folder: of the sweep.
    parallel: processes at a time.
    program: what is called with --config=FILE and --workdir=FOLDER.

  Returns:
    The exit code: 0, 1 if a run failed, `INTERRUPTED`, or `TERMINATED` after
    SIGTERM.

  Raises:
    UserError: a folder that cannot be written, that another sweep uses, or
      that holds runs of other configs, before anything starts.
  """
  folder = pathlib.Path(folder)
  folders.write(runs, folder)
  in_use = f'another sweep is running in {folder}: wait until it ends.'
  with locks.locked(folder, in_use), _signals() as came:
    sweep = _Sweep(runs, folder, parallel, program)
    try:
      while sweep.go_on(came):
        time.sleep(_WAIT)
    finally:
      sweep.kill()  # where this itself fails
  return sweep.conclude(came)


@dataclasses.dataclass
class _Started:
  run: Run
  number: int  # from 1
  slot: int
  begin: float  # seconds
  process: subprocess.Popen


class _Sweep:
  """The processes of a sweep: which wait, which run, how they ended."""

  def __init__(
    self,
    runs: Sequence[Run],
    folder: pathlib.Path,
    parallel: int,
    program: Sequence[str],
  ):
    self._folder, self._program = folder, program
    self._runs = len(runs)
    self._waiting = list(enumerate(runs, 1))
    self._slots = list(range(parallel))
    self._parallel = parallel
    self._started: list[_Started] = []
    self._failed: list[tuple[Run, str]] = []
    self._stopped: list[Run] = []
    self._elsewhere: set[str] = set()  # that another process trains
    self._signals = 0  # handed to the processes so far

  def go_on(self, came: Sequence[int]) -> bool:
    """Looks after the processes once; returns whether there is more to do."""
    for signum in came[self._signals :]:
      self._signals += 1
      self._hand_on(signum)
    for started in list(self._started):
      if started.process.poll() is not None:
        self._started.remove(started)
        self._slots.append(started.slot)
        self._note_end(started, bool(came))
    while self._slots and not came and (found := self._next()):
      self._waiting.remove(found)
      number, run = found
      if folders.is_finished(self._folder / run.name):
        self._say(number, run, 'was finished before')
      else:
        self._start(number, run)
    return bool(self._started or (self._waiting and not came))

  def _next(self) -> tuple[int, Run] | None:
    """Returns the first run to start that no other process is training.

    One that another process trains waits for its end: it may be of a sweep that
    was killed, and about to write its checkpoint.
    """
    for number, run in self._waiting:
      if not locks.is_locked(self._folder / run.name):
        return number, run
      if run.name not in self._elsewhere:
        self._elsewhere.add(run.name)
        self._say(number, run, 'still running, in another process; it waits')
    return None

  def _hand_on(self, signum: int) -> None:
    for started in self._started:
      if self._signals > 2:
        _kill(started.process)
      else:
        started.process.send_signal(signum)
    if self._started and self._signals == 1:
      print('\nstopping: the runs write their checkpoints', flush=True)

  def _start(self, number: int, run: Run) -> None:
    folder = self._folder / run.name
    command = [*self._program, *folders.arguments(folder)]
    slot = self._slots.pop(0)
    (folder / folders.FAILED).unlink(missing_ok=True)
    with open(folder / folders.LOG, 'a') as log:
      log.write(f'$ {shlex.join(command)}\n')
      log.flush()
      process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=_environment(slot, self._parallel, self._folder),
        start_new_session=True,  # the terminal's Ctrl-C is for this process
      )
    begin = time.monotonic()
    self._started.append(_Started(run, number, slot, begin, process))
    self._say(number, run, f'begins; its log is {folder / folders.LOG}')

  def _note_end(self, ended: _Started, stopping: bool) -> None:
    code, run = ended.process.returncode, ended.run
    if code == 0:
      (self._folder / run.name / folders.FINISHED).touch()
      seconds = time.monotonic() - ended.begin
      what = f'finished in {seconds:.0f} s'
    elif stopping or code in _STOPPED:
      self._stopped.append(run)
      what = 'stopped'
    else:
      why = f'code {code}' if code > 0 else signal.Signals(-code).name
      what = f'failed with {why}'
      (self._folder / run.name / folders.FAILED).touch()
      self._failed.append((run, what))
    self._say(ended.number, run, what)

  def _say(self, number: int, run: Run, what: str) -> None:
    print(f'run {number} of {self._runs}, {run.name}: {what}', flush=True)

  def kill(self) -> None:
    """Ends the processes that are left, without a checkpoint."""
    for started in self._started:
      _kill(started.process)
      started.process.wait()

  def conclude(self, came: Sequence[int]) -> int:
    """Says what is not finished, and why; returns the exit code."""
    for run, what in self._failed:
      log = self._folder / run.name / folders.LOG
      print(f'{run.name} {what}: {_last_line(log)}\n  its log is {log}')
    left = len(self._stopped) + len(self._waiting)
    if self._failed:
      print(f'{len(self._failed)} of {self._runs} runs failed')
    if left:
      print(f'{left} of {self._runs} runs are left; the same command goes on')
    if came and came[0] == signal.SIGTERM:
      return TERMINATED
    if came or left:
      return INTERRUPTED
    return _SOME_FAILED if self._failed else 0


def _environment(
  slot: int, parallel: int, folder: pathlib.Path
) -> dict[str, str]:
  """Returns the environment of a process, with its share of the devices."""
  environment = os.environ | {
    'PYTHONUNBUFFERED': '1',
    commands.SWEEP: str(os.getpid()),
  }
  environment.setdefault(GROUP, folder.absolute().name)
  devices = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
  if parallel > 1 and len(devices) >= parallel:
    environment['CUDA_VISIBLE_DEVICES'] = ','.join(devices[slot::parallel])
  return environment


def _kill(process: subprocess.Popen) -> None:
  """Kills a process and those that it started."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)


def _last_line(log: pathlib.Path) -> str:
  """Returns the last line of a log, which of a user's mistake says all."""
  lines = log.read_text(errors='replace')[-4000:].splitlines()
  return next((line.strip() for line in reversed(lines) if line.strip()), '')


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Collects SIGINT and SIGTERM in the order in which they come."""
  came = []
  before = {
    which: signal.signal(which, lambda signum, _: came.append(signum))
    for which in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield came
  finally:
    for which, handler in before.items():
      signal.signal(which, handler)

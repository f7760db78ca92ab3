"""Reporting of metrics: terminal, JSON lines, TensorBoard and W&B."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vivit_jax import files
from vivit_jax.errors import UserError


class Progress:
  """Writes metrics to the terminal and into the workdir.

  `metrics.jsonl` gets one object per line, `{"step": ..., "<name>": ...}`, and
  `tensorboard/` the same values, by clu.

  Args:
    workdir: the run's folder.
    steps: number of steps of the whole training.
    batch_size: clips per step.
    first_step: the step to resume from; lines of later steps are removed.
    utilisation: clips per second -> model FLOPs utilisation, or None.
    wandb: Weights & Biases project to log to as well, or None.
    config: run config logged to W&B.

  Raises:
    UserError: files that cannot be written.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    steps: int,
    batch_size: int,
    first_step: int,
    utilisation: Callable[[float], float | None] = lambda rate: None,
    wandb: str | None = None,
    config: Mapping[str, Any] | None = None,
  ):
    from clu import metric_writers  # imports TensorFlow

    self._steps = steps
    self._batch_size = batch_size
    self._utilisation = utilisation
    self._path = workdir / 'metrics.jsonl'
    try:
      self._keep_lines_until(first_step)
      writer = metric_writers.SummaryWriter(str(workdir / 'tensorboard'))
    except Exception as error:  # OSError, and TensorFlow's own types
      reason = str(error).splitlines()[0]
      raise UserError(
        f'cannot write metrics to {workdir}: {reason}. Move metrics.jsonl and '
        'tensorboard away, or choose another --workdir.'
      ) from None
    self._writer = metric_writers.AsyncMultiWriter([writer])
    self._wandb = None if wandb is None else _wandb_run(wandb, workdir, config)
    self._last_step = first_step
    self._start = (first_step, time.monotonic())

  def _keep_lines_until(self, step: int) -> None:
    if not self._path.exists():
      return
    lines = []
    for line in self._path.read_text().splitlines():
      try:
        if json.loads(line)['step'] <= step:
          lines.append(line)
      except (ValueError, KeyError, TypeError):
        continue  # cut off when the process was killed
    with files.replacing(self._path) as unfinished:
      unfinished.write_text(''.join(line + '\n' for line in lines))

  def report(
    self, step: int, metrics: dict[str, float], step_seconds: float
  ) -> None:
    """Writes mean training metrics and the speed.

    Args:
      step: number of the last step in the means.
      metrics: means over the steps since the last report.
      step_seconds: from `step_timer.step_seconds`.
    """
    self._last_step = step
    rate = self._batch_size / max(step_seconds, 1e-9)
    speed = {'clips_per_second': rate}
    if (utilised := self._utilisation(rate)) is not None:
      speed['mfu'] = utilised
    self.write(step, {f'train/{k}': v for k, v in (metrics | speed).items()})
    elapsed, made = time.monotonic() - self._start[1], step - self._start[0]
    left = elapsed / max(made, 1) * (self._steps - step)
    loss = {name: x for name, x in metrics.items() if name == 'loss'}
    parts = [
      f'step {step}/{self._steps}',
      _join(loss | _top1(metrics)),
      f'{rate:.0f} clips/s',
      *([] if utilised is None else [f'{utilised:.1%} MFU']),
      f'{_duration(left)} left',
    ]
    line = '  '.join(parts)
    if sys.stdout.isatty() and len(line) >= shutil.get_terminal_size().columns:
      line = '  '.join([parts[0], _join(loss), *parts[2:]])
    self._show(line)

  def report_validation(
    self, step: int, metrics: Mapping[str, float], remark: str = ''
  ) -> None:
    """Writes the scores of a validation; the line ends with `remark`."""
    self.write(step, {f'validation/{k}': v for k, v in metrics.items()})
    line = f'validation at step {step}  {_join(_top1(metrics))}{remark}'
    self._show(line, stay=True)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Writes metrics to the files only.

    Raises:
      UserError: a file cannot be written.
    """
    values = {name: float(value) for name, value in metrics.items()}
    with self._writing(step):
      with open(self._path, 'a') as file:
        file.write(json.dumps({'step': step, **values}) + '\n')
      self._writer.write_scalars(step, values)
    if self._wandb is not None:
      self._wandb.log(values, step=step)

  def close(self) -> None:
    """Ends the terminal's line and flushes the files."""
    if sys.stdout.isatty():
      print()
    if self._wandb is not None:
      self._wandb.finish()
    with self._writing(self._last_step):
      self._writer.close()

  @contextlib.contextmanager
  def _writing(self, step: int) -> Iterator[None]:
    """Turns write errors, ours or TensorFlow's, into a UserError."""
    try:
      yield
    except Exception as error:
      reason = getattr(error, 'strerror', None) or str(error).splitlines()[0]
      raise UserError(
        f'cannot write metrics of step {step} to {self._path.parent}: '
        f'{reason}. After repair, the same command resumes from the last '
        'checkpoint.'
      ) from None

  def _show(self, line: str, stay: bool = False) -> None:
    if sys.stdout.isatty():
      # A wrapped line could not be overwritten.
      cut = None if stay else shutil.get_terminal_size().columns - 1
      print(f'\r\x1b[2K{line[:cut]}', end='\n' if stay else '', flush=True)
    else:
      print(line, flush=True)


def _wandb_run(
  project: str, workdir: pathlib.Path, config: Mapping[str, Any] | None
):
  """Starts the W&B run of this workdir, or resumes it."""
  import wandb

  path = str(workdir.absolute())
  return wandb.init(
    project=project,
    name=workdir.absolute().name,
    id=hashlib.sha256(path.encode()).hexdigest()[:16],
    dir=str(workdir),
    config=None if config is None else dict(config),
    allow_val_change=True,  # some keys may change when a run resumes
    resume='allow',
  )


def _top1(metrics: Mapping[str, float]) -> dict[str, float]:
  return {name: x for name, x in metrics.items() if name.endswith('top1')}


def _join(metrics: Mapping[str, float]) -> str:
  return '  '.join(f'{name} {value:.3f}' for name, value in metrics.items())


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}h{minutes:02}m' if hours else f'{minutes}m{seconds:02}s'

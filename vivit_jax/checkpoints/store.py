"""Saves and restores a run's checkpoints: Orbax arrays and their metadata.

`<workdir>/checkpoints/<step>/state` holds step, parameters and optimiser state.
`<step>/description` is JSON (`metadata`) with the config and label names, so a
checkpoint can be used without the rest of the workdir.

Orbax renames a checkpoint after writing it and before deleting it, so a killed
process never leaves part of one. A checkpoint that is damaged anyway is renamed
to `<step>.damaged`.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vivit_jax.checkpoints import damage, metadata
from vivit_jax.checkpoints.damage import Damaged
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.errors import UserError
from vivit_jax.models import stacking

_REMOVED = '.removed'  # folder of checkpoints that are being deleted


class Store:
  """The checkpoints of a workdir; a context manager that waits for writes.

  Args:
    workdir: contains the folder `checkpoints`.
    keep: number of most recent checkpoints to keep, besides the best one. Those
      saved during a streak of skipped steps do not count.
    read_only: whether to leave the folder, which must exist, unchanged.

  Raises:
    UserError: the folder is missing or cannot be written, or all checkpoints
      are damaged.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    keep: int = 3,
    read_only: bool = False,
  ):
    self._folder = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._read_only = read_only
    self._saving = False
    if read_only and not self._folder.is_dir():
      raise UserError(
        f'no checkpoints in {workdir}: train first, with this --workdir.'
      )
    self._policy = _Policy(keep)
    if not read_only:
      with self._writing('the folder of checkpoints'):
        self._folder.mkdir(parents=True, exist_ok=True)
      for step, mapping in self._read_undamaged().items():
        self._policy.add(step, mapping)
    alone = _alone()
    with _without_warnings():
      self._manager = ocp.CheckpointManager(
        self._folder,
        options=ocp.CheckpointManagerOptions(
          preservation_policy=self._policy,
          lightweight_initialize=True,
          create=False,
          multiprocessing_options=alone,
          read_only=read_only,
          cleanup_tmp_directories=not read_only,
          todelete_subdir=None if read_only else _REMOVED,
        ),
        item_handlers={
          'state': ocp.StandardCheckpointHandler(multiprocessing_options=alone),
          'description': ocp.JsonCheckpointHandler(
            multiprocessing_options=alone
          ),
        },
      )

  def __enter__(self) -> 'Store':
    return self

  def __exit__(self, *_) -> None:
    with self._writing('the last checkpoint'):
      self._manager.close()
      if not self._read_only:
        shutil.rmtree(self._folder / _REMOVED, ignore_errors=True)

  def save(
    self,
    step: int,
    state: Any,
    description: Description,
    scores: Mapping[str, float] | None = None,
  ) -> None:
    """Starts to write a checkpoint in the background, unless the step is saved.

    `state` is a tree of host arrays; `scores`, metric -> validation score.

    Raises:
      UserError: this checkpoint or the previous one cannot be written.
    """
    if step == self._manager.latest_step():
      return
    self.wait()
    shutil.rmtree(self._folder / _REMOVED, ignore_errors=True)
    state = stacking.unstack(state)
    mapping = dataclasses.asdict(description) | {
      'step': step,
      'scores': None if scores is None else dict(scores),
      'arrays': metadata.checksum(state),
    }
    self._policy.add(step, mapping)
    mapping['checksum'] = metadata.checksum_of_json(mapping)
    self._saving = True
    with self._writing(f'checkpoint {step}'):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          description=ocp.args.JsonSave(mapping),
        ),
      )

  def check(self) -> None:
    """Raises the error of the last `save`, if any, without waiting for it."""
    if self._saving and not self._manager.is_saving_in_progress():
      self._saving = False
      self.wait()

  def wait(self) -> None:
    """Waits until the last `save` is finished, and raises its error, if any."""
    with self._writing('the last checkpoint'):
      self._manager.wait_until_finished()

  def find(self, which: str = 'last') -> int | None:
    """Returns the step of a checkpoint; None without checkpoints.

    Args:
      which: 'last', 'best' by `train.best_metric` (the last one if none has a
        score), or a step.

    Raises:
      UserError: no such step, or damaged metadata.
    """
    steps = sorted(self._manager.all_steps())
    if not steps:
      return None
    if which == 'last':
      return steps[-1]
    if which == 'best':
      read = {step: metadata.read(self._folder, step) for step in steps}
      return _best({s: metadata.best_score(m) for s, m in read.items()})
    if not which.isdecimal() or int(which) not in steps:
      raise UserError(
        f"no checkpoint '{which}' in {self._folder}; choose best, last or one "
        f'of the steps {", ".join(map(str, steps))}.'
      )
    return int(which)

  def restore_last(self, template: Any) -> tuple[Any, Description] | None:
    """Restores the newest undamaged checkpoint; None without checkpoints.

    Reports newer, damaged ones and renames them to `<step>.damaged`. `restore`
    explains the template.

    Raises:
      UserError: all checkpoints are damaged (none is renamed then), or one
        belongs to another model.
    """
    restored, damaged = damage.newest(
      self._folder,
      self._manager.all_steps(),
      lambda step: (self.restore(step, template), self.describe(step)),
    )
    for step, error in damaged.items():
      self._set_aside(step, error)
    if damaged:
      self._manager.reload()
    return restored

  def _read_undamaged(self) -> dict[int, dict[str, Any]]:
    """Returns step -> metadata; renames checkpoints with damaged metadata."""
    read, damaged = {}, {}
    for step in metadata.steps_in(self._folder):
      try:
        read[step] = metadata.read(self._folder, step)
      except Damaged as error:
        damaged[step] = error
    if damaged and not read:
      raise damage.all_damaged(self._folder, damaged)
    for step, error in damaged.items():
      self._set_aside(step, error)
    return read

  def _set_aside(self, step: int, error: Damaged) -> None:
    """Renames a damaged checkpoint, so that its step can be saved again."""
    aside, number = self._folder / f'{step}.damaged', 1
    while aside.exists():
      number += 1
      aside = aside.with_name(f'{step}.damaged.{number}')
    with self._writing(aside.name):
      os.rename(self._folder / str(step), aside)
    print(
      f'{error.what}: kept as {aside.name}; the previous one is used.',
      file=sys.stderr,
      flush=True,
    )

  def describe(self, step: int) -> Description:
    """Reads a checkpoint's metadata.

    Raises:
      UserError: damaged metadata, or metadata of another package version.
    """
    return Description.from_json(metadata.read(self._folder, step))

  def restore(self, step: int, template: Any) -> Any:
    """Reads a checkpoint's arrays into a tree of the template's structure.

    Blocks may be stacked or not, both in the template (arrays or shapes) and in
    the checkpoint.

    Raises:
      UserError: the checkpoint is damaged, or belongs to another model.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
      stacking.unstack(template),
    )
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
    with damage.reading(self._folder, step):
      saved = self._manager.item_metadata(step)['state']
      metadata.check_shapes(self._folder, step, saved, shapes)
      state = self._manager.restore(step, args=arguments)['state']
      expected = metadata.read(self._folder, step)['arrays']
      if metadata.checksum(state) != expected:
        raise Damaged(self._folder, step, 'its arrays have changed')
    same = jax.tree.structure(shapes) == jax.tree.structure(template)
    return state if same else stacking.stack(state)

  def has_average(self, step: int) -> bool:
    """Returns whether a checkpoint has averaged weights (`train.ema`)."""
    with damage.reading(self._folder, step):
      return bool(self._manager.item_metadata(step)['state'].get('ema'))

  def restore_parameters(self, step: int, which: str = 'params') -> Any:
    """Reads a checkpoint's parameters as nested dicts, blocks unstacked.

    `which` may be 'ema' for the averaged weights, see `has_average`.

    Raises:
      Damaged: the checkpoint is damaged.
    """
    with damage.reading(self._folder, step):
      saved = dict(self._manager.item_metadata(step)['state'])
    return self.restore(step, saved)[which]

  @contextlib.contextmanager
  def _writing(self, what: str) -> Iterator[None]:
    """Converts the many exceptions of Orbax and its storage to a UserError."""
    try:
      yield
    except UserError:
      raise
    except Exception as error:
      first = re.split(r' \[|\n|\. ', str(error))[0][:200]
      reason = damage.system_reason(error) or first or repr(error)
      steps = metadata.steps_in(self._folder)
      begin = f'checkpoint {steps[-1]}' if steps else 'the beginning'
      raise UserError(
        f'cannot write {what} to {self._folder}: {reason}. When this is fixed, '
        f'the same command resumes from {begin}.'
      ) from None


class _Policy(checkpoint_managers.PreservationPolicy):
  """Keeps the newest and the best checkpoint, and the last `keep` good ones.

  A checkpoint is good unless it was saved during a streak of skipped steps: its
  parameters may be the cause of the streak.
  """

  def __init__(self, keep: int):
    self._keep = keep
    self._scores: dict[int, float | None] = {}
    self._bad: set[int] = set()

  def add(self, step: int, mapping: Mapping[str, Any]) -> None:
    """Registers a checkpoint, given its metadata as JSON."""
    self._scores[step] = metadata.best_score(mapping)
    if mapping.get('skipped'):
      self._bad.add(step)
    else:
      self._bad.discard(step)

  def should_preserve(self, checkpoints, *, context):
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    good = [step for step in steps if step not in self._bad]
    kept = {*good[-self._keep :], *steps[-1:]}
    scores = {step: self._scores.get(step) for step in steps}
    if any(score is not None for score in scores.values()):
      kept.add(_best(scores))
    return [step in kept for step in steps]


def _best(scores: Mapping[int, float | None]) -> int:
  """Returns the step with the best score; the last one on ties or without."""
  scored = {step: x for step, x in scores.items() if x is not None}
  return max(scored or scores, key=lambda step: (scored.get(step, 0.0), step))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Silences Orbax's warnings about options that are set on purpose."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(max(level, logging.ERROR))
  try:
    yield
  finally:
    logger.setLevel(level)


def _alone() -> ocp.options.MultiprocessingOptions:
  """Returns Orbax options not to wait for other processes.

  Parameters are the same in all processes, and only process 0 writes.
  """
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'of{me}'
  )

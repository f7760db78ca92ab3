"""Checkpoints of a run: Orbax arrays, with a description beside them.

`<workdir>/checkpoints/<step>/state` holds step, parameters and optimiser;
`<step>/description`, a JSON, the config (pixel preprocessing included) and the
label names: a checkpoint alone says how to use it.

A checkpoint is written beside its place and renamed when it is whole, and
renamed before it is deleted, so that a kill leaves none in parts. One that is
damaged all the same is renamed to `<step>.damaged`.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vivit_jax.checkpoints import damage, on_disk
from vivit_jax.checkpoints.damage import Damaged
from vivit_jax.checkpoints.on_disk import Description
from vivit_jax.config import less_is_better
from vivit_jax.errors import UserError
from vivit_jax.models import stacking

_REMOVED = '.removed'  # folder of checkpoints that are being deleted


class Store:
  """The checkpoints of one workdir; a context that ends when all is written.

  Args:
    workdir: `checkpoints/` is made in it.
    keep: the last `keep` checkpoints stay, and the best one besides; those
      within steps that were skipped count only until the next one.
    best_metric: the key of the metrics given to `save`; larger is better, but
      of a loss. None, to read only: there is no best one.
    read_only: the folder is there, and stays as it is.

  Raises:
    UserError: no checkpoints to read, or a folder that cannot be written.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    keep: int = 3,
    best_metric: str | None = 'top1',
    read_only: bool = False,
  ):
    self._folder = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._best_metric = best_metric
    self._sign = -1.0 if best_metric and less_is_better(best_metric) else 1.0
    self._read_only = read_only
    if read_only and not self._folder.is_dir():
      raise UserError(f'no checkpoints in {workdir}: train into it first.')
    self._manager = None
    self._saving = False
    if not read_only:
      with self._writing('the folder of checkpoints'):
        self._folder.mkdir(parents=True, exist_ok=True)
      self._set_aside_damaged()

    def metric(metrics):
      return self._sign * metrics[best_metric]

    whole = () if read_only else on_disk.steps_in(self._folder)
    self._skipped = {step for step in whole if self.describe(step).skipped}
    best = checkpoint_managers.BestN(
      get_metric_fn=metric, n=1, keep_checkpoints_without_metrics=False
    )
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [_LastGood(keep, self._skipped), best]
        ),
        best_fn=None if read_only else metric,
        lightweight_initialize=read_only,  # without their metrics
        create=False,
        multiprocessing_options=_alone(),
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
        todelete_subdir=None if read_only else _REMOVED,
      ),
      item_handlers={
        'state': ocp.StandardCheckpointHandler(
          multiprocessing_options=_alone()
        ),
        'description': ocp.JsonCheckpointHandler(
          multiprocessing_options=_alone()
        ),
      },
    )

  @classmethod
  def of_run(cls, workdir: str | os.PathLike) -> 'Store':
    """Opens a run's checkpoints for reading; 'best' is by its own metric."""
    about = on_disk.last_description(workdir)
    if about is None:
      return cls(workdir, read_only=True)
    metric = about.config.train.best_metric
    return cls(workdir, read_only=True, best_metric=metric)

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
    metrics: Mapping[str, float] | None = None,
  ) -> None:
    """Starts writing a tree of host arrays; it goes on in the background.

    Raises:
      UserError: this checkpoint, or the one before, cannot be written.
    """
    if step == self._manager.latest_step():
      return
    self.wait()
    shutil.rmtree(self._folder / _REMOVED, ignore_errors=True)
    state = stacking.unstack(state)
    metrics = None if metrics is None else dict(metrics)
    about = description.to_json() | {'step': step, 'scores': metrics}
    about |= {'arrays': on_disk.checksum(state)}
    about |= {'checksum': on_disk.checksum_of_json(about)}
    self._saving = True
    if description.skipped:
      self._skipped.add(step)
    with self._writing(f'checkpoint {step}'):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          description=ocp.args.JsonSave(about),
        ),
        metrics=metrics,
      )

  def check(self) -> None:
    """Looks whether what `save` started has failed; does not wait for it.

    Raises:
      UserError: it has.
    """
    if self._saving and not self._manager.is_saving_in_progress():
      self._saving = False
      self.wait()

  def wait(self) -> None:
    """Returns when what `save` started is written.

    Raises:
      UserError: it cannot be.
    """
    with self._writing('the last checkpoint'):
      self._manager.wait_until_finished()

  def find(self, which: str = 'last') -> int | None:
    """Returns the step of the 'last' or 'best' checkpoint, or of a number.

    None where there is no checkpoint; 'best' without metrics is the last.

    Raises:
      UserError: a step that is not there, or scores that are damaged.
    """
    steps = sorted(self._manager.all_steps())
    if not steps:
      return None
    if which == 'last':
      return steps[-1]
    if which == 'best':
      return self._best(steps)
    if not which.isdecimal() or int(which) not in steps:
      raise UserError(
        f"no checkpoint '{which}' in {self._folder}; there are best, last and "
        f'steps {", ".join(map(str, steps))}.'
      )
    return int(which)

  def _best(self, steps: Iterable[int]) -> int:
    """Returns the newest of the best steps; without scores, of all."""
    if self._best_metric is None:
      return max(steps)
    scored = {step: on_disk.scores(self._folder, step) for step in steps}
    values = {
      step: (self._sign * scores[self._best_metric], step)
      for step, scores in scored.items()
      if scores and self._best_metric in scores
    }
    return max(values or scored, key=lambda step: values.get(step, step))

  def restore_last(self, template: Any) -> tuple[Any, Description] | None:
    """Reads the newest checkpoint that is whole, as `restore` does.

    Newer ones are damaged: each is named, and set aside as `<step>.damaged`.
    None where there is no checkpoint.

    Raises:
      UserError: all are damaged, which stay as they are, or another model's.
    """
    found, damaged = damage.newest(
      self._folder,
      self._manager.all_steps(),
      lambda step: (self.restore(step, template), self.describe(step)),
    )
    for step, error in damaged.items():
      self._set_aside(step, error)
    return found

  def _set_aside(self, step: int, error: Damaged) -> None:
    """Renames a damaged checkpoint, so that its step can be saved again."""
    aside = damage.aside(self._folder, step)
    with self._writing(aside.name):
      os.rename(self._folder / str(step), aside)
      if self._manager is not None:
        self._manager.reload()
    print(
      f'{error.which} is damaged ({error.reason}): it is kept as {aside.name}, '
      'and the one before it is used.',
      file=sys.stderr,
      flush=True,
    )

  def _set_aside_damaged(self) -> None:
    """Sets those aside whose description or metrics are damaged.

    All but the last one too: Orbax reads all metrics, whenever it saves.
    """
    damaged = on_disk.damaged(self._folder, self._best_metric)
    damage.check_some_whole(
      self._folder, damaged, on_disk.steps_in(self._folder)
    )
    for step, error in damaged.items():
      self._set_aside(step, error)

  def describe(self, step: int) -> Description:
    """Reads the description of a checkpoint.

    Raises:
      UserError: it is damaged.
    """
    return Description.from_json(on_disk.read_json(self._folder, step))

  def restore(self, step: int, template: Any) -> Any:
    """Reads a checkpoint's arrays into a tree of the template's shapes.

    Args:
      step: of a checkpoint that exists.
      template: tree of arrays or shapes, as it was saved; its layers may be
        stacked or not, whichever they were then.

    Raises:
      UserError: arrays that are missing or of other shapes.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
      stacking.unstack(template),
    )
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
    with damage.reading(self._folder, step):
      saved = self._manager.item_metadata(step)['state']
      on_disk.check_shapes(self._folder, step, saved, shapes)
      restored = self._manager.restore(step, args=arguments)
      expected = on_disk.read_json(self._folder, step).get('arrays')
      if expected not in (None, on_disk.checksum(restored['state'])):
        raise ValueError('its arrays are not those that were saved')
    same = jax.tree.structure(shapes) == jax.tree.structure(template)
    return restored['state'] if same else stacking.stack(restored['state'])

  def has_average(self, step: int) -> bool:
    """Returns whether a checkpoint holds averaged weights (`train.ema`)."""
    with damage.reading(self._folder, step):
      return bool(self._manager.item_metadata(step)['state'].get('ema'))

  def restore_parameters(self, step: int, which: str = 'params') -> Any:
    """Reads a checkpoint's parameters, nested dicts, without a model.

    Layers are not stacked, whatever the config says.

    Args:
      step: of a checkpoint that exists.
      which: 'params', or 'ema' for the averaged ones (`has_average`).
    """
    with damage.reading(self._folder, step):
      saved = self._manager.item_metadata(step)['state']
      if saved is None:  # removed meanwhile
        raise ValueError('its arrays are missing')
      on_disk.check_size(self._folder, step, saved)
    return self.restore(step, dict(saved))[which]

  @contextlib.contextmanager
  def _writing(self, what: str) -> Iterator[None]:
    """Turns what Orbax and its storage raise, which are many, into one."""
    try:
      yield
    except UserError:
      raise
    except Exception as error:
      whole = on_disk.steps_in(self._folder)
      begin = f'checkpoint {max(whole)}' if whole else 'the beginning'
      raise UserError(
        f'cannot write {what} to {self._folder}: {damage.reason_of(error)}. '
        f'Mend it, and the same command goes on from {begin}.'
      ) from None


@dataclasses.dataclass
class _LastGood(checkpoint_managers.PreservationPolicy):
  """Keeps the last `n` checkpoints but those in `not_counted`, and the newest.

  What a run has before its steps are skipped may be what makes them so: it must
  not take the place of what was good.
  """

  n: int
  not_counted: set[int]

  def should_preserve(self, checkpoints, *, context):
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    good = [step for step in steps if step not in self.not_counted]
    kept = {*good[-self.n :], *steps[-1:]}
    return [step in kept for step in steps]


def _alone() -> ocp.options.MultiprocessingOptions:
  """Returns what lets Orbax read and write without the other processes.

  Parameters are the same everywhere, and process 0 alone writes.
  """
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'of{me}'
  )

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
import json
import math
import os
import pathlib
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vivit_jax import config as configs
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking

_MOST_SWELLING = 100  # times that arrays may be larger than their files,
_ALLOWANCE = 256 << 20  # and so many bytes
_REMOVED = '.removed'  # folder of checkpoints that are being deleted

LabelNames = Mapping[str, list[str]]  # of each head, in the order of logits


@dataclasses.dataclass(frozen=True)
class Description:
  """What a checkpoint must say of itself to be of use alone.

  Attributes:
    config: of the run, with its heads.
    label_names: of each head.
    content: of the split that the run trains on, where it is known.
    unlogged: metrics of the steps that no line of metrics.jsonl tells yet.
    skipped: how many of the last steps, in a row, were not finite.
    multi_label: heads of which a video may have any number of labels.
  """

  config: TrainConfig
  label_names: LabelNames
  content: str | None = None
  unlogged: Sequence[Mapping[str, float]] = ()
  skipped: int = 0
  multi_label: Sequence[str] = ()

  def to_json(self) -> dict[str, Any]:
    return {
      'config': dataclasses.asdict(self.config),
      'label_names': {k: list(v) for k, v in self.label_names.items()},
      'content': self.content,
      'unlogged': [dict(row) for row in self.unlogged],
      'skipped': self.skipped,
      'multi_label': list(self.multi_label),
    }

  @classmethod
  def from_json(cls, mapping: Mapping[str, Any]) -> 'Description':
    """Undoes `to_json`; ValueError for what it did not give."""
    if not isinstance(mapping.get('config'), dict):
      raise ValueError('its description has no config')
    return cls(
      configs.from_mapping(mapping['config']),
      dict(mapping['label_names']),
      mapping.get('content'),
      tuple(mapping.get('unlogged', ())),
      mapping.get('skipped', 0),
      tuple(mapping.get('multi_label', ())),
    )


def has_checkpoints(workdir: str | os.PathLike) -> bool:
  """Returns whether a workdir holds a finished checkpoint."""
  folders = pathlib.Path(workdir, 'checkpoints').glob('*')
  return any(folder.name.isdecimal() for folder in folders)


_CHECKSUMS = ('arrays', 'checksum')  # beside a description


def last_description(workdir: str | os.PathLike) -> Description | None:
  """Reads the newest description of a workdir that is not damaged.

  None where there is no checkpoint.

  Raises:
    UserError: all are damaged.
  """
  folder = pathlib.Path(workdir).absolute() / 'checkpoints'
  found, _ = _newest(folder, _steps(folder), lambda s: _read_json(folder, s))
  return found and Description.from_json(found)


class Damaged(UserError):
  """A checkpoint that cannot be read.

  Args:
    which: its step and folder.
    reason: what its storage says.
  """

  def __init__(self, which: str, reason: str):
    super().__init__(
      f'{which} is damaged ({reason}): train.py sets it aside, to go on from '
      'the one before.'
    )
    self.which, self.reason = which, reason


class Store:
  """The checkpoints of one workdir; a context that ends when all is written.

  Args:
    workdir: `checkpoints/` is made in it.
    keep: the last `keep` checkpoints stay, and the best one besides.
    best_metric: the key of the metrics given to `save`; larger is better.
    read_only: the folder is there, and stays as it is.

  Raises:
    UserError: no checkpoints to read, or a folder that cannot be written.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    keep: int = 3,
    best_metric: str = 'top1',
    read_only: bool = False,
  ):
    self._folder = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._metric = lambda metrics: metrics[best_metric]
    if read_only and not self._folder.is_dir():
      raise UserError(f'no checkpoints in {workdir}: train into it first.')
    best = checkpoint_managers.BestN(
      get_metric_fn=self._metric, n=1, keep_checkpoints_without_metrics=False
    )
    if not read_only:
      with self._writing('the folder of checkpoints'):
        self._folder.mkdir(parents=True, exist_ok=True)
    self._manager = None
    self._set_aside_scores(read_only)
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [checkpoint_managers.LatestN(keep), best]
        ),
        best_fn=self._metric,
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
    about = last_description(workdir)
    if about is None:
      return cls(workdir, read_only=True)
    metric = about.config.train.best_metric
    return cls(workdir, read_only=True, best_metric=metric)

  def __enter__(self) -> 'Store':
    return self

  def __exit__(self, *_) -> None:
    with self._writing('the last checkpoint'):
      self._manager.close()
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
    about = description.to_json() | {'arrays': _checksum(state)}
    about |= {'checksum': _checksum_of_json(about)}
    with self._writing(f'checkpoint {step}'):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          description=ocp.args.JsonSave(about),
        ),
        metrics=None if metrics is None else dict(metrics),
      )

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
      UserError: a step that is not there.
    """
    steps = sorted(self._manager.all_steps())
    if not steps:
      return None
    if which == 'last':
      return steps[-1]
    if which == 'best':
      best = self._manager.best_step()
      return steps[-1] if best is None else best
    if not which.isdecimal() or int(which) not in steps:
      raise UserError(
        f"no checkpoint '{which}' in {self._folder}; there are best, last and "
        f'steps {", ".join(map(str, steps))}.'
      )
    return int(which)

  def restore_last(self, template: Any) -> tuple[Any, Description] | None:
    """Reads the newest checkpoint that is whole, as `restore` does.

    Newer ones are damaged: each is named, and set aside as `<step>.damaged`.
    None where there is no checkpoint.

    Raises:
      UserError: all are damaged, which stay as they are, or another model's.
    """
    found, damaged = _newest(
      self._folder,
      self._manager.all_steps(),
      lambda step: (self.restore(step, template), self.describe(step)),
    )
    for step, error in damaged.items():
      self._set_aside(step, error)
    return found

  def _set_aside(self, step: int, error: Damaged) -> None:
    """Renames a damaged checkpoint, so that its step can be saved again."""
    aside = self._folder / f'{step}.damaged'
    again = 1
    while aside.exists():
      again += 1
      aside = self._folder / f'{step}.damaged.{again}'
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

  def _set_aside_scores(self, read_only: bool) -> None:
    """Sets those checkpoints aside whose metrics Orbax could not open."""
    damaged = {}
    for step in _steps(self._folder):
      path = self._folder / str(step) / 'metrics' / 'metrics'
      try:
        if path.exists():
          json.loads(path.read_text('utf-8'))
      except ValueError as error:
        which = f'checkpoint {step} in {self._folder}'
        damaged[step] = Damaged(which, f'its metrics are not JSON: {error}')
    if damaged and (read_only or len(damaged) == len(_steps(self._folder))):
      raise next(iter(damaged.values()))
    for step, error in damaged.items():
      self._set_aside(step, error)

  def describe(self, step: int) -> Description:
    """Reads the description of a checkpoint.

    Raises:
      UserError: it is damaged.
    """
    return Description.from_json(_read_json(self._folder, step))

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
    with self._reading(step):
      self._check_shapes(step, shapes)
      restored = self._manager.restore(step, args=arguments)
      expected = _read_json(self._folder, step).get('arrays')
      if expected not in (None, _checksum(restored['state'])):
        raise ValueError('its arrays are not those that were saved')
    same = jax.tree.structure(shapes) == jax.tree.structure(template)
    return restored['state'] if same else stacking.stack(restored['state'])

  def has_average(self, step: int) -> bool:
    """Returns whether a checkpoint holds averaged weights (`train.ema`)."""
    with self._reading(step):
      return bool(self._manager.item_metadata(step)['state'].get('ema'))

  def restore_parameters(self, step: int, which: str = 'params') -> Any:
    """Reads a checkpoint's parameters, nested dicts, without a model.

    Layers are not stacked, whatever the config says.

    Args:
      step: of a checkpoint that exists.
      which: 'params', or 'ema' for the averaged ones (`has_average`).
    """
    with self._reading(step):
      saved = self._manager.item_metadata(step)['state']
      self._check_size(step, saved)
    return self.restore(step, dict(saved))[which]

  def _check_shapes(self, step: int, expected: Any) -> None:
    """Raises where a checkpoint that tells its arrays is of another model."""
    saved = self._manager.item_metadata(step)['state']
    there, here = (
      sorted(
        (x.shape, str(np.dtype(x.dtype)))
        for x in jax.tree.leaves(tree)
        if getattr(x, 'shape', ())
      )
      for tree in (dict(saved), expected)
    )
    if there != here:
      only = [x for x in there + here if (x in there) != (x in here)]
      raise UserError(
        f'checkpoint {step} in {self._folder} is of another model: it has '
        f'{len(there)} arrays and the model {len(here)}, and only one of them '
        f'has one of {(only or [None])[0]}. Choose another --workdir.'
      )

  def _check_size(self, step: int, saved: Any) -> None:
    """Raises where arrays would be far larger than the files they are in."""
    files = (self._folder / str(step)).rglob('*')
    there = sum(path.stat().st_size for path in files if path.is_file())
    stated = sum(
      math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
      for leaf in jax.tree.leaves(saved)
    )
    if stated > _MOST_SWELLING * there + _ALLOWANCE:
      raise ValueError(
        f'it states {stated} bytes of arrays, in {there} of files'
      )

  @contextlib.contextmanager
  def _reading(self, step: int) -> Iterator[None]:
    """Turns what Orbax and its storage raise, which are many, into one."""
    try:
      yield
    except UserError:
      raise
    except Exception as error:
      which = f'checkpoint {step} in {self._folder}'
      raise Damaged(which, _reason(error)) from None

  @contextlib.contextmanager
  def _writing(self, what: str) -> Iterator[None]:
    """Turns what Orbax and its storage raise, which are many, into one."""
    try:
      yield
    except UserError:
      raise
    except Exception as error:
      whole = _steps(self._folder)
      begin = f'checkpoint {max(whole)}' if whole else 'the beginning'
      raise UserError(
        f'cannot write {what} to {self._folder}: {_reason(error)}. Mend it, '
        f'and the same command goes on from {begin}.'
      ) from None


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


def _steps(folder: pathlib.Path) -> list[int]:
  """Returns the steps of finished checkpoints, newest first."""
  names = [path.name for path in folder.glob('*')]
  return sorted((int(n) for n in names if n.isdecimal()), reverse=True)


def _newest(
  folder: pathlib.Path, steps: Iterable[int], read: Callable[[int], Any]
) -> tuple[Any, dict[int, Damaged]]:
  """Returns what the newest step gives that is not damaged, or None.

  And the errors of newer steps, which are.
  """
  damaged = {}
  for step in sorted(steps, reverse=True):
    try:
      return read(step), damaged
    except Damaged as error:
      damaged[step] = error
  if damaged:
    listed = ', '.join(str(step) for step in sorted(damaged))
    raise UserError(
      f'all checkpoints in {folder} are damaged (steps {listed}): move the '
      'folder away to begin anew, or copy a whole one there.'
    )
  return None, damaged


def _read_json(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """Returns a checkpoint's description as JSON; Damaged where it is not so."""
  try:
    path = folder / str(step) / 'description' / 'metadata'
    mapping = json.loads(path.read_text('utf-8'))
    if not isinstance(mapping.get('config'), dict):
      raise ValueError('its description has no config')
    # Those of before had no checksums, and nothing of what came with them.
    if 'unlogged' in mapping or any(key in mapping for key in _CHECKSUMS):
      expected = mapping.pop('checksum', None)
      if expected != _checksum_of_json(mapping):
        raise ValueError('its description is not what was saved')
    return mapping
  except Exception as error:
    which = f'checkpoint {step} in {folder}'
    raise Damaged(which, _reason(error)) from None


def _checksum_of_json(mapping: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(mapping, sort_keys=True).encode())


def _checksum(tree: Any) -> int:
  """Returns a CRC of all arrays, whatever the order they are held in."""
  arrays = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
  with futures.ThreadPoolExecutor(4) as pool:
    each = pool.map(lambda x: zlib.crc32(x.reshape(-1).view(np.uint8)), arrays)
    return zlib.crc32(json.dumps(sorted(each)).encode())


def _reason(error: Exception) -> str:
  """Returns what an error says of its cause, in a few words."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  system = re.search(r"os_error_code='(\d+)|OS error (\d+)", str(error))
  if system:
    return os.strerror(int(system[1] or system[2]))
  # TensorStore's sentences go on with places in its own code, in [].
  return re.split(r' \[|\n', str(error))[0][:200] or repr(error)

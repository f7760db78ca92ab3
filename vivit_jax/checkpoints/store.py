"""Checkpoints of a run: Orbax arrays, with a description beside them.

`<workdir>/checkpoints/<step>/state` holds step, parameters and optimiser;
`<step>/description`, a JSON, the config (pixel preprocessing included) and the
label names: a checkpoint alone says how to use it.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
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

LabelNames = Mapping[str, list[str]]  # of each head, in the order of logits


@dataclasses.dataclass(frozen=True)
class Description:
  """What a checkpoint must say of itself to be of use alone.

  Attributes:
    config: of the run, with its heads.
    label_names: of each head.
    content: of the split that the run trains on, where it is known.
  """

  config: TrainConfig
  label_names: LabelNames
  content: str | None = None

  def to_json(self) -> dict[str, Any]:
    return {
      'config': dataclasses.asdict(self.config),
      'label_names': {k: list(v) for k, v in self.label_names.items()},
      'content': self.content,
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
    )


def has_checkpoints(workdir: str | os.PathLike) -> bool:
  """Returns whether a workdir holds a finished checkpoint."""
  folders = pathlib.Path(workdir, 'checkpoints').glob('*')
  return any(folder.name.isdecimal() for folder in folders)


class Store:
  """The checkpoints of one workdir; a context that ends when all is written.

  Args:
    workdir: `checkpoints/` is made in it.
    keep: the last `keep` checkpoints stay, and the best one besides.
    best_metric: the key of the metrics given to `save`; larger is better.
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
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [checkpoint_managers.LatestN(keep), best]
        ),
        best_fn=self._metric,
        read_only=read_only,
      ),
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'description': ocp.JsonCheckpointHandler(),
      },
    )

  @classmethod
  def of_run(cls, workdir: str | os.PathLike) -> 'Store':
    """Opens a run's checkpoints for reading; 'best' is by its own metric."""
    with cls(workdir, read_only=True) as store:
      last = store.find('last')
      if last is None:
        return cls(workdir, read_only=True)
      metric = store.describe(last).config.train.best_metric
    return cls(workdir, read_only=True, best_metric=metric)

  def __enter__(self) -> 'Store':
    return self

  def __exit__(self, *_) -> None:
    self._manager.close()

  def save(
    self,
    step: int,
    state: Any,
    description: Description,
    metrics: Mapping[str, float] | None = None,
  ) -> None:
    """Starts writing a tree of host arrays; it goes on in the background."""
    if step == self._manager.latest_step():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(stacking.unstack(state)),
        description=ocp.args.JsonSave(description.to_json()),
      ),
      metrics=None if metrics is None else dict(metrics),
    )

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

  def describe(self, step: int) -> Description:
    """Reads the description of a checkpoint.

    Raises:
      UserError: it is damaged.
    """
    with self._reading(step):
      restored = self._manager.restore(
        step, args=ocp.args.Composite(description=ocp.args.JsonRestore())
      )
      return Description.from_json(restored['description'])

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
      restored = self._manager.restore(step, args=arguments)
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
      # TensorStore's sentences go on with places in its own code, in [].
      reason = re.split(r' \[|\n', str(error))[0][:200] or repr(error)
      raise UserError(
        f'checkpoint {step} in {self._folder} is damaged, or of another model '
        f'({reason}): move the folder {self._folder / str(step)} away to go on '
        'from the one before.'
      ) from None

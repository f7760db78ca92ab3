"""Checks of config, data, workdir and training that stop a run early."""

import os
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from vivit_jax import distributed, models
from vivit_jax.checkpoints import labels, workdir
from vivit_jax.checkpoints.metadata import (
  Description,
  has_checkpoints,
  last_description,
)
from vivit_jax.checkpoints.sources import hub
from vivit_jax.config import TrainConfig
from vivit_jax.data import clip_span, datasets
from vivit_jax.errors import UserError, nearest

LOWER_RATE = (  # advice to a run that has diverged
  'In another --workdir, lower optim.learning_rate (of a probe, '
  'probe.learning_rates) or lengthen optim.warmup_epochs.'
)
# Keys that may differ between processes: they depend on the machine.
_PER_PROCESS = ('data.data_dir', 'data.workers')


def check_same(config: TrainConfig) -> None:
  """Raises a UserError if the processes of a run have different configs."""
  keys = workdir.flat(config).items()
  common = {key: value for key, value in keys if key not in _PER_PROCESS}
  distributed.check_same('the config', common)


def check_alone(config: TrainConfig, folder: str | os.PathLike) -> None:
  """Runs all checks that need neither dataset nor devices.

  Raises:
    UserError: an unknown model, a missing `init_from` (unless the workdir
      `folder` has checkpoints), or Weights & Biases not installed.
  """
  models.check(config.model)
  source = config.init_from
  new = bool(source) and not has_checkpoints(folder)
  if new and not hub.local(source).exists():  # downloads it before the data
    raise UserError(
      f"init_from is '{source}', which does not exist: give the path "
      'of a checkpoint.'
    )
  if config.train.wandb is not None:
    try:
      import wandb as wandb  # slow
    except ImportError:
      raise UserError(
        f"train.wandb is '{config.train.wandb}', but wandb is not installed: "
        'install it, or remove the key.'
      ) from None


def check_splits(config: TrainConfig, validates: bool) -> None:
  """Raises a UserError that names all splits that training lacks.

  `validates` is whether the run validates. evaluate.py, not training, needs
  `evaluation.split`.
  """
  data = config.data
  splits = {'data.train_split': data.train_split}
  if validates:
    splits['train.validation_split'] = config.train.validation_split
  names = datasets.splits(data.dataset, data.data_dir)
  missing = [
    f"{key} is '{split}'" for key, split in splits.items() if split not in names
  ]
  if missing:
    advice = ''
    if 'validation_split' in missing[-1]:
      advice = (
        '; vivit_jax.data.prepare makes a validation split with '
        '--validation_share, and train.py needs none if train.validate_every '
        'and train.validate_epochs are 0'
      )
    raise UserError(
      f'{data.dataset} has the splits {", ".join(names)}, but '
      f'{" and ".join(missing)}: name splits that it has{advice}.'
    )


def check_with_data(config: TrainConfig, train: datasets.VideoSplit) -> None:
  """Checks clip and metric against the training videos.

  Raises:
    UserError: videos are too short for a clip; or validation does not compute
      `train.best_metric`.
  """
  clip_span.check_lengths(train, config.data)
  _check_best_metric(config, train.multi_label)


def open_validation(config: TrainConfig) -> datasets.VideoSplit:
  """Opens the validation split; its videos must not be shorter than a clip."""
  data = config.data
  source = datasets.open_split(
    data.dataset, data.data_dir, config.train.validation_split
  )
  clip_span.check_lengths(source, data)
  return source


def _check_best_metric(
  config: TrainConfig, multi_label: Collection[str]
) -> None:
  """Raises a UserError unless validation computes `train.best_metric`."""
  heads = config.model.heads
  known = [f'{h}/{which}' for h in heads for which in ('top1', 'top5', 'loss')]
  known += [f'{head}/mAP' for head in heads if head in multi_label]
  known += ['top1', 'loss', *(['joint/top1'] if len(heads) > 1 else [])]
  name = config.train.best_metric
  if name not in known:
    raise UserError(
      f"train.best_metric is '{name}'; it is one of {', '.join(known)}."
      f'{nearest(name, known)}'
    )


def check_resumed(folder: str | os.PathLike, current: Description) -> None:
  """Checks that the checkpoints of a workdir, if any, belong to this run.

  Raises:
    UserError: config, labels or training videos differ.
  """
  if not has_checkpoints(folder):
    return
  saved = last_description(folder)
  workdir.check_same(saved.config, current.config, folder)
  labels.check_label_names(saved.label_names, current.label_names)
  if saved.content not in (None, current.content):
    data = current.config.data
    raise UserError(
      f'{folder} was trained on {saved.content}, but the split '
      f"'{data.train_split}' of {data.dataset} now has {current.content}: "
      'prepare it as before, or choose another --workdir.'
    )


class UnreadableVideos:
  """Counts the unreadable training videos, and prints their ids.

  Args:
    source: the training videos.
    max_share: share of them that may be unreadable.
  """

  def __init__(self, source: datasets.VideoSplit, max_share: float):
    self._source, self._max_share = source, max_share
    self._seen: set[int] = set()

  def add(self, indices: np.ndarray) -> None:
    """Prints each unreadable video of a batch, the first time.

    Args:
      indices: int [b], the batch's `unreadable` from `pipeline.train_batches`.

    Raises:
      UserError: the share is exceeded.
    """
    for index in sorted({int(i) for i in indices if i >= 0} - self._seen):
      self._seen.add(index)
      print(
        f"\nskipped: video '{self._source.ids[index]}' cannot be read "
        f'({len(self._seen)} so far)',
        flush=True,
      )
    if len(self._seen) > self._max_share * len(self._source):
      raise UserError(
        f'{len(self._seen)} of {len(self._source)} videos cannot be read, more '
        f'than the share {self._max_share} of data.max_unreadable. Run `python '
        '-m vivit_jax.data.check`, prepare the dataset again, or raise the key.'
      )


def check_finite(values: Any, what: str, step: int) -> None:
  """Raises a UserError if a number in a tree of host arrays is not finite."""
  if not all(np.isfinite(x).all() for x in jax.tree.leaves(values)):
    raise UserError(
      f'training has diverged: {what} is not finite at step {step}, which is '
      f'not saved. {LOWER_RATE}'
    )

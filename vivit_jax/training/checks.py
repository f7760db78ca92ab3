"""Checks of config, data, workdir and training that stop a run early."""

import math
import os
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import distributed, models
from vivit_jax.checkpoints import labels, workdir
from vivit_jax.checkpoints.metadata import (
  Description,
  has_checkpoints,
  last_description,
)
from vivit_jax.config import TrainConfig
from vivit_jax.data import clip_span, datasets
from vivit_jax.errors import UserError, nearest
from vivit_jax.training import param_groups

# Keys that may differ between processes: they depend on the machine.
_PER_PROCESS = ('data.data_dir', 'data.workers')


def check_same(config: TrainConfig) -> None:
  """Raises a UserError if the processes of a run have different configs."""
  keys = workdir.flat(config).items()
  common = {key: value for key, value in keys if key not in _PER_PROCESS}
  distributed.check_same('the config', common)


def check_before_data(config: TrainConfig, folder: str | os.PathLike) -> None:
  """Runs all checks that need no dataset.

  Raises:
    UserError: as in `check_alone`; a batch that the devices cannot share
      equally; a workdir of another run, or one that cannot be written.
  """
  check_alone(config, folder)
  configs.check_devices(config, jax.device_count())
  workdir.check(folder, config)


def check_alone(
  config: TrainConfig, folder: str | os.PathLike | None = None
) -> None:
  """Runs all checks that need neither dataset nor devices.

  Args:
    config: the experiment.
    folder: its workdir, if known. A resumed run does not need `init_from`.

  Raises:
    UserError: an unknown model, a missing checkpoint, or Weights & Biases not
      installed.
  """
  models.check(config.model)
  is_new = folder is None or not has_checkpoints(folder)
  if is_new and config.init_from and not os.path.exists(config.init_from):
    raise UserError(
      f"init_from is '{config.init_from}', which does not exist: give the path "
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


def check_with_data(config: TrainConfig, train: datasets.VideoSplit) -> None:
  """Checks clip, views and metric against the training and evaluation videos.

  Args:
    config: the experiment, with its heads.
    train: the training videos.

  Raises:
    UserError: videos are too short for a clip or for the evaluation views; or
      validation does not compute `train.best_metric`.
  """
  clip_span.check_lengths(train, config.data)
  _check_best_metric(config, train.multi_label)
  scored = _open_named(config, 'evaluation.split', config.evaluation.split)
  clip_span.check_lengths(scored, config.data)
  clip_span.check_views(scored, config.data, config.evaluation.temporal_views)


def check_parameters(params: Any, config: TrainConfig) -> None:
  """Checks the `optim` keys that select parameters by name.

  Raises:
    UserError: a pattern that does not fit, or a parameter without a layer.
  """
  param_groups.trainable(params, config.optim)
  if config.optim.layer_decay != 1.0:
    param_groups.layer_scales(params, config.optim.layer_decay, config.model)


def open_split(config: TrainConfig, split: str) -> datasets.VideoSplit:
  """Opens a split of the config's dataset."""
  return datasets.open_split(config.data.dataset, config.data.data_dir, split)


def open_validation(config: TrainConfig) -> datasets.VideoSplit:
  """Opens the validation split.

  Raises:
    UserError: no such split, or videos shorter than a clip.
  """
  without = '--config.train.validate_every=0'
  if config.train.validate_epochs:
    without += ' --config.train.validate_epochs=0'
  source = _open_named(
    config,
    'train.validation_split',
    config.train.validation_split,
    f', or train without validation by {without}',
  )
  clip_span.check_lengths(source, config.data)
  return source


def _open_named(
  config: TrainConfig, key: str, split: str, advice: str = ''
) -> datasets.VideoSplit:
  """Opens a split; an error names the config key that the split is from."""
  known = datasets.splits(config.data.dataset, config.data.data_dir)
  if split not in known:
    raise UserError(
      f"{key} is '{split}', but {config.data.dataset} has {', '.join(known)}: "
      f'name one of them{advice}.{nearest(split, known)}'
    )
  return open_split(config, split)


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
      'prepare it as before, or start another --workdir with '
      f'--config.init_from={folder}.'
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


def check_skipped(
  consecutive: int,
  config: TrainConfig,
  step: int,
  learning_rates: tuple[float, float],
) -> None:
  """Raises a UserError after `train.max_skipped` consecutive skipped steps.

  Args:
    consecutive: number of skipped steps up to `step`.
    config: the experiment.
    step: number of the last step.
    learning_rates: that of `step`, and that of the last update made.
  """
  if consecutive < config.train.max_skipped:
    return
  rate, previous = (f'{x:.3g}' for x in learning_rates)
  after = '' if previous == rate else f' (last update at {previous})'
  raise UserError(
    f'training has diverged: {consecutive} steps up to step {step} had no '
    f'finite update, at learning rate {rate}{after}. See diverged.json; the '
    'last good checkpoint is kept. Lower optim.learning_rate or lengthen '
    'optim.warmup_epochs, in another --workdir.'
  )


def check_finite(loss: float, params: Any, step: int) -> None:
  """Raises a UserError if the loss or a parameter is not finite.

  Args:
    loss: mean over some steps.
    params: host arrays; None to check the loss alone.
    step: number of the last step.
  """
  reason = None if math.isfinite(loss) else f'the loss is {loss}'
  if reason is None and params is not None:
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
      reason = 'parameters are not finite'
  if reason:
    raise UserError(
      f'training has diverged: {reason} at step {step}, which is not saved. '
      'Lower optim.learning_rate or lengthen optim.warmup_epochs, in another '
      '--workdir.'
    )

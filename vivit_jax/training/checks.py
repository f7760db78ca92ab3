"""What can be wrong with a run, said as early as it can be known."""

import math
import os
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import models, peers
from vivit_jax.checkpoints import labels, workdir
from vivit_jax.checkpoints.metadata import (
  Description,
  has_checkpoints,
  last_description,
)
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, lengths
from vivit_jax.errors import UserError, nearest
from vivit_jax.training import parameters

# What belongs to the machine of a process.
_OWN = ('data.data_dir', 'data.workers')


def check_same(config: TrainConfig) -> None:
  """Raises a UserError where processes of a run have other configs."""
  keys = workdir.flat(config).items()
  of_all = {key: value for key, value in keys if key not in _OWN}
  peers.check_same('config', of_all)


def check_before_data(config: TrainConfig, folder: str | os.PathLike) -> None:
  """Checks all that can be checked without the dataset.

  Raises:
    UserError: as of `check_alone`; a batch that the devices cannot share; or a
      workdir of another run or that cannot be written.
  """
  check_alone(config, folder)
  configs.check_devices(config, jax.device_count())
  workdir.check(folder, config)


def check_alone(
  config: TrainConfig, folder: str | os.PathLike | None = None
) -> None:
  """Checks what needs neither the dataset nor the devices.

  Args:
    config: the experiment.
    folder: its workdir, if it is known. A run that goes on needs `init_from` no
      more.

  Raises:
    UserError: a model that there is not, a checkpoint that is not there, or
      Weights & Biases that is not installed.
  """
  models.check(config.model)
  begins = folder is None or not has_checkpoints(folder)
  if begins and config.init_from and not os.path.exists(config.init_from):
    raise UserError(
      f'cannot read the checkpoint {config.init_from}: there is none; '
      'init_from takes a path.'
    )
  if config.train.wandb is not None:
    try:
      import wandb as wandb  # a second
    except ImportError:
      raise UserError(
        f"train.wandb is '{config.train.wandb}', but wandb is not installed: "
        'install it, or leave the key out.'
      ) from None


def check_with_data(config: TrainConfig, train: datasets.VideoSplit) -> None:
  """Checks clips and scores against the videos, of evaluation's too.

  Args:
    config: with its heads.
    train: the videos to train on.

  Raises:
    UserError: videos shorter than a clip, fewer than a batch, or with no room
      for the views of evaluation; a metric that validation does not give.
  """
  lengths.check_lengths(train, config.data)
  _check_best_metric(config, train.multi_label)
  scored = _open_named(config, 'evaluation.split', config.evaluation.split)
  lengths.check_lengths(scored, config.data)
  lengths.check_views(scored, config.data, config.evaluation.temporal_views)


def check_parameters(params: Any, config: TrainConfig) -> None:
  """Checks the keys of optim that go by the names of parameters.

  Raises:
    UserError: a pattern that does not fit, or a parameter of no layer.
  """
  parameters.learned(params, config.optim)
  if config.optim.layer_decay != 1.0:
    parameters.layer_scales(params, config.optim.layer_decay, config.model)


def open_split(config: TrainConfig, split: str) -> datasets.VideoSplit:
  """Opens a split of the config's dataset."""
  return datasets.open_split(config.data.dataset, config.data.data_dir, split)


def open_validation(config: TrainConfig) -> datasets.VideoSplit:
  """Opens the split that is scored during training.

  Raises:
    UserError: no such split, or videos that are shorter than a clip.
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
  lengths.check_lengths(source, config.data)
  return source


def _open_named(
  config: TrainConfig, key: str, split: str, mend: str = ''
) -> datasets.VideoSplit:
  """Opens the split that a key names; an error names the key."""
  there = datasets.splits(config.data.dataset, config.data.data_dir)
  if split not in there:
    raise UserError(
      f"{key} is '{split}', but {config.data.dataset} has {', '.join(there)}: "
      f'name one of them{mend}.{nearest(split, there)}'
    )
  return open_split(config, split)


def _check_best_metric(
  config: TrainConfig, multi_label: Collection[str]
) -> None:
  """Raises a UserError unless validation gives `train.best_metric`."""
  heads = config.model.heads
  known = [f'{h}/{which}' for h in heads for which in ('top1', 'top5', 'loss')]
  known += [f'{head}/mAP' for head in heads if head in multi_label]
  known += ['top1', 'loss', *(['joint/top1'] if len(heads) > 1 else [])]
  name = config.train.best_metric
  if name not in known:
    raise UserError(
      f"train.best_metric is '{name}'; there are {', '.join(known)}."
      f'{nearest(name, known)}'
    )


def check_resumed(folder: str | os.PathLike, now: Description) -> None:
  """Checks that the checkpoints of a workdir, if any, are of this run.

  Raises:
    UserError: what of config, labels and videos differs.
  """
  if not has_checkpoints(folder):
    return
  there = last_description(folder)
  workdir.check_same(there.config, now.config, folder)
  labels.check_label_names(there.label_names, now.label_names)
  if there.content not in (None, now.content):
    raise UserError(
      f'{folder} was trained on {there.content}, and the split '
      f"'{now.config.data.train_split}' of {now.config.data.dataset} has "
      f'{now.content} now: prepare it as it was, or begin another --workdir '
      f'with --config.init_from={folder}.'
    )


class Unreadable:
  """Counts the videos that training skips because they cannot be read.

  Args:
    source: the videos.
    most: share of them that may be skipped.
  """

  def __init__(self, source: datasets.VideoSplit, most: float):
    self._source, self._most = source, most
    self._found: set[int] = set()

  def note(self, numbers: np.ndarray) -> None:
    """Names the videos of a batch that are skipped for the first time.

    Args:
      numbers: int [b], of videos in the split; -1 for none.

    Raises:
      UserError: they are more than the share by now.
    """
    for number in sorted({int(n) for n in numbers if n >= 0} - self._found):
      self._found.add(number)
      print(
        f"\nskipped: video '{self._source.ids[number]}' cannot be read "
        f'({len(self._found)} so far)',
        flush=True,
      )
    if len(self._found) > self._most * len(self._source):
      raise UserError(
        f'{len(self._found)} of {len(self._source)} videos cannot be read, '
        f'more than the share {self._most} of data.max_unreadable: find out '
        'why by `python -m vivit_jax.data.check`, prepare the dataset again, '
        'or allow more.'
      )


def check_skipped(
  in_a_row: int,
  config: TrainConfig,
  step: int,
  learning_rates: tuple[float, float],
) -> None:
  """Raises a UserError after `train.max_skipped` steps that were not finite.

  Args:
    in_a_row: of the last steps, how many were skipped.
    config: of the run.
    step: the last one.
    learning_rates: of that step, and of the last update that was made.
  """
  rate, before = (f'{x:.3g}' for x in learning_rates)
  last = '' if before == rate else f', after an update at {before}'
  if in_a_row >= config.train.max_skipped:
    raise UserError(
      f'no finite gradient and update in {in_a_row} steps up to step {step}, '
      f'at learning rate {rate}{last}: training has diverged (diverged.json '
      'has the last batch and its gradients), and the last checkpoint is as it '
      'was. Lower optim.learning_rate, or lengthen optim.warmup_epochs, in '
      'another --workdir.'
    )


def check_finite(loss: float, params: Any, step: int) -> None:
  """Raises a UserError where training has diverged.

  Args:
    loss: the mean of some steps.
    params: host arrays, before they are saved; None to look at the loss alone.
    step: the last one.
  """
  what = None if math.isfinite(loss) else f'the loss is {loss}'
  if what is None and params is not None:
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
      what = 'parameters are not finite'
  if what:
    raise UserError(
      f'{what} at step {step}: training has diverged, and this step is not '
      'saved. Lower optim.learning_rate, or lengthen optim.warmup_epochs, in '
      'another --workdir.'
    )

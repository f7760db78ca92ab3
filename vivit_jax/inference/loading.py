"""From a path of any kind to a predictor."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import (
  Callable,
  Collection,
  Iterator,
  Mapping,
  Sequence,
)

from vivit_jax import config as configs
from vivit_jax import config_file
from vivit_jax.checkpoints import start
from vivit_jax.checkpoints.damage import Damaged
from vivit_jax.checkpoints.formats import huggingface_config, native
from vivit_jax.checkpoints.on_disk import last_description
from vivit_jax.config import TrainConfig
from vivit_jax.data import annotations
from vivit_jax.errors import UserError
from vivit_jax.evaluation import trained
from vivit_jax.evaluation.trained import Trained
from vivit_jax.inference.predictor import Predictor

Names = Mapping[str, Sequence[str]]


def load(
  path: str | os.PathLike,
  *,
  checkpoint: str | int = 'best',
  config: TrainConfig | str | os.PathLike | None = None,
  class_order: Names | str | os.PathLike | None = None,
  multi_label: Collection[str] | None = None,
  ema: bool | None = None,
  stride: int | None = None,
  short_videos: str | None = None,
  say: Callable[[str], object] = lambda text: None,
) -> Predictor:
  """Reads a model, to look at videos with; `vivit_jax.load` is this.

  A workdir, one of its checkpoints and a Hugging Face folder of a ViViT say by
  themselves what they are; other formats need a config.

  Args:
    path: of a workdir, or of a checkpoint of any format.
    checkpoint: of a workdir: 'best', 'last', or a step.
    config: an experiment, or the file of one; None for the checkpoint's own.
    class_order: names of each head's classes, in the order of the outputs, or
      JSON of them; None for the checkpoint's own, else the config's.
    multi_label: heads of which a video may have any number of labels; None for
      what the checkpoint says.
    ema: whether to take the averaged weights, if there are any; None for what
      the config says.
    stride, short_videos: replace the config's own (data.stride, which counts
      then in data.frames_per_second's stead, and data.short_videos).
    say: gets an account of what became of each array, of foreign formats.

  Raises:
    UserError: no such checkpoint, a damaged one, one that needs a config, or
      weights and names that do not fit the config.
  """
  if not isinstance(path, (str, os.PathLike)):
    raise UserError(
      f'the checkpoint is {path!r}: give the path of a workdir or a checkpoint.'
    )
  path = pathlib.Path(path)
  if not os.path.exists(path):
    raise UserError(f'there is no checkpoint at {path}.')

  def override(config: TrainConfig) -> TrainConfig:
    return _override(config, ema, stride, short_videos)

  names = _read_names(class_order)
  if config is None and native.is_native(path):
    with _without_warnings():
      found = _from_native(path, str(checkpoint), override)
    found = _renamed(found, names)
  else:
    config = override(_config_of(path, config))
    source = start.read(path, config)
    if names is not None:
      config = dataclasses.replace(config, class_order=None)
      source = dataclasses.replace(source, label_names=names)
    found = trained.from_weights(source, str(path), config, None, say)
  return Predictor(_with_multi_label(found, multi_label))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  """Keeps what Orbax says of reading alone, which is no news, to itself."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(max(level, logging.ERROR))
  try:
    yield
  finally:
    logger.setLevel(level)


def _config_of(
  path: pathlib.Path, config: TrainConfig | str | os.PathLike | None
) -> TrainConfig:
  """Returns the config that is given, or what the folder says of itself."""
  if isinstance(config, TrainConfig):
    configs.check(config)
    return config
  if config is not None:
    return config_file.run(str(config))
  told = huggingface_config.find(path)
  if told is not None:
    return huggingface_config.read(told)
  if path.is_dir() and not any(path.iterdir()):
    raise UserError(f'{path} is empty: it holds no checkpoint.')
  raise UserError(
    f'{path} is no workdir, and does not say of itself which model and which '
    'clips it is of: give the config of its experiment, --config=FILE.'
  )


def _from_native(
  path: pathlib.Path,
  checkpoint: str,
  override: Callable[[TrainConfig], TrainConfig],
) -> Trained:
  """Reads a workdir, its folder of checkpoints, or one of them."""
  workdir, which = native.place(path)
  checkpoint = checkpoint if which == 'best' else which
  try:
    return _of_workdir(workdir, checkpoint, override)
  except Damaged as error:
    raise UserError(
      f'{error.which} is damaged ({error.reason}): name another one by '
      '--checkpoint, a step or a path.'
    ) from None


def _of_workdir(
  workdir: pathlib.Path,
  checkpoint: str,
  override: Callable[[TrainConfig], TrainConfig],
) -> Trained:
  if (workdir / 'config.json').exists():
    return trained.from_workdir(workdir, checkpoint, override)
  # A checkpoint alone says how to use it.
  about = last_description(workdir)
  if about is None:
    raise UserError(f'{workdir} has no finished checkpoint yet.')
  return trained.from_checkpoint(workdir, checkpoint, about.config, override)


def _override(
  config: TrainConfig,
  ema: bool | None,
  stride: int | None,
  short_videos: str | None,
) -> TrainConfig:
  data, evaluation = config.data, config.evaluation
  if stride is not None:
    data = dataclasses.replace(data, stride=stride, frames_per_second=None)
  if short_videos is not None:
    data = dataclasses.replace(data, short_videos=short_videos)
  if ema is not None:
    evaluation = dataclasses.replace(evaluation, ema=ema)
  config = dataclasses.replace(config, data=data, evaluation=evaluation)
  configs.check(config)
  return config


def _read_names(
  class_order: Names | str | os.PathLike | None,
) -> dict[str, list[str]] | None:
  if class_order is None:
    return None
  if isinstance(class_order, (str, os.PathLike)):
    return annotations.read_label_names(class_order)
  return annotations.checked_names(class_order, 'class_order')


def _renamed(found: Trained, names: Names | None) -> Trained:
  """Gives the outputs of a run other names, of the same heads."""
  if names is None:
    return found
  there = {head: len(known) for head, known in found.label_names.items()}
  given = {head: len(known) for head, known in names.items()}
  if there != given:
    raise UserError(
      f'the names are of {_counts(given)}, and the model has {_counts(there)}.'
    )
  return dataclasses.replace(found, label_names=names)


def _with_multi_label(
  found: Trained, multi_label: Collection[str] | None
) -> Trained:
  if multi_label is None:
    return found
  if isinstance(multi_label, str):
    raise UserError(
      f"multi_label is '{multi_label}'; it takes heads: ['{multi_label}']."
    )
  for head in multi_label:
    if head not in found.label_names:
      raise UserError(
        f"there is no head '{head}' of many labels; the heads are "
        f'{", ".join(found.label_names)}.'
      )
  return dataclasses.replace(found, multi_label=tuple(multi_label))


def _counts(heads: Mapping[str, int]) -> str:
  return ', '.join(f'{head} ({n} classes)' for head, n in heads.items())

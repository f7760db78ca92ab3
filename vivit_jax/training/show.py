"""A page that shows a training batch as the network sees it."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import files, parallel
from vivit_jax.augment import randaugment
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline, prepare
from vivit_jax.errors import UserError
from vivit_jax.evaluation.page import clip_sheets
from vivit_jax.evaluation.page.clip_sheets import Sheet
from vivit_jax.models import pixels
from vivit_jax.training import inputs, run_summary

WRITERS = {'.html': clip_sheets.write_html, '.png': clip_sheets.write_png}


def write_page(
  config: TrainConfig,
  out: str | os.PathLike,
  *,
  step: int = 0,
  clips: int = 8,
  name: str = '',
) -> None:
  """Writes a page with the first clips of a training batch.

  The embedded dataset is written if it is missing.

  Args:
    config: the experiment.
    out: file to write, .html or .png; it is written atomically.
    step: number of the batch, from 0.
    clips: number of clips to show.
    name: name of the experiment, for the page's title.

  Raises:
    UserError: an invalid number of clips or file.
  """
  out = pathlib.Path(out)
  if out.suffix not in WRITERS:
    raise UserError(f'--out is {out}; it must end in .html or .png.')
  batch_size = config.train.batch_size
  if not 1 <= clips <= batch_size:
    raise UserError(
      f'--clips is {clips}; it must be 1 to {batch_size}, the batch size.'
    )
  configs.check_devices(config, jax.local_device_count())
  prepare.ensure_embedded(config.data.dataset, config.data.data_dir)
  split = datasets.open_split(
    config.data.dataset, config.data.data_dir, config.data.train_split
  )
  config = configs.resolve_heads(config, split.label_names)
  sheets = training_sheets(config, split, step)[:clips]
  title = _title(config, step, clips, name)
  try:
    with files.replacing(out) as unfinished:
      WRITERS[out.suffix](unfinished, title, sheets)
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror or error}.') from None
  print(f'{out}: {clips} of the {batch_size} clips of batch {step}')


def training_sheets(
  config: TrainConfig, split: datasets.VideoSplit, step: int
) -> list[Sheet]:
  """Returns the augmented clips of batch `step` of the split, in order."""
  batches = pipeline.train_batches(
    split,
    dataclasses.replace(config.data, workers=0),  # for a single batch
    augment=config.augment,
    seed=config.train.seed,
    batch_size=config.train.batch_size,
    first_step=step,
  )
  with contextlib.closing(batches):
    batch = next(batches)

  def preprocess(arrays, step):
    return inputs.preprocess(arrays, step, config, config.model.heads)

  ready = parallel.map_over_devices(preprocess)(
    parallel.shard(inputs.arrays(batch)), parallel.replicate(np.int32(step))
  )
  labels = {head: batch['labels'][head] for head in config.model.heads}
  share = float(parallel.unreplicate(ready.share))
  sheets = []
  for index, clip in enumerate(parallel.unshard(ready.video)):
    drawn = batch.get('randaugment')
    sheets.append(
      Sheet(
        frames=pixels.restore(clip, *config.data.pixels),
        name=str(split.ids[batch['index'][index]]),
        labels=_labels(split.label_names, labels, index, share),
        operations='' if drawn is None else randaugment.describe(drawn[index]),
      )
    )
  return sheets


def _labels(
  names: Mapping[str, Sequence[str]],
  labels: Mapping[str, np.ndarray],
  index: int,
  share: float,
) -> dict[str, str]:
  """Returns a clip's class names by head, with shares if it is mixed."""
  words = {}
  for head, values in labels.items():
    own, other = (
      _class_name(names[head], values[at % len(values)])
      for at in (index, index + 1)
    )
    words[head] = own
    if share < 1 and own != other:
      words[head] = f'{own} {share:.0%} + {other} {1 - share:.0%}'
  return words


def _class_name(names: Sequence[str], label: np.ndarray) -> str:
  """Returns a label's class name, or all names of a multi-label head."""
  if label.ndim:
    return '; '.join(names[k] for k in np.flatnonzero(label)) or 'none'
  return names[label]


def _title(config: TrainConfig, step: int, clips: int, name: str) -> list[str]:
  """Returns the lines above the clips: the batch and its augmentation."""
  data, size = config.data, ' x '.join(str(side) for side in config.data.crop)
  return [
    f'Training batch {step} of {name or data.dataset}',
    f'{clips} of {config.train.batch_size} clips from {data.dataset}, '
    f'{data.train_split}: {data.frames} frames of {size} pixels',
    f'Augmentation: {run_summary.augmentation(config)}',
  ]

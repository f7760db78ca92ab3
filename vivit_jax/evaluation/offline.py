"""evaluate.py: from a checkpoint to a report."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import tqdm

from vivit_jax import config as configs
from vivit_jax import distributed, models, parallel
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline
from vivit_jax.errors import UserError
from vivit_jax.evaluation import (
  forward,
  labels,
  metrics,
  report,
  run,
  trained,
)
from vivit_jax.models import stacking


def evaluate(
  workdir: str | os.PathLike | None,
  *,
  config: TrainConfig | None = None,
  checkpoint: str = 'best',
  split: str | None = None,
  views: str | None = None,
  batch_size: int | None = None,
  data_dir: str | None = None,
  short_videos: str | None = None,
  ema: bool | None = None,
  out: str | None = None,
) -> dict[str, float]:
  """Scores a checkpoint, prints the scores and writes the report.

  Args:
    workdir: of a run; None for a checkpoint of any format, with a config.
    config: of the experiment, without a workdir.
    checkpoint: 'best', 'last', or a step's number; or a path.
    split, views, batch_size, data_dir, short_videos, ema: replace the config's
      own.
    out: the report's folder; None for `<workdir>/evaluation/<split>`.

  Returns:
    The scores, as in metrics.json.

  Raises:
    UserError: no such run, checkpoint, split or views; labels that the
      checkpoint does not know; a video that cannot be read.
  """
  changed = functools.partial(
    override,
    split=split,
    views=views,
    batch_size=batch_size,
    data_dir=data_dir,
    short_videos=short_videos,
    ema=ema,
  )
  if workdir is not None:
    model_of = trained.from_workdir(workdir, checkpoint, changed)
    source = _open(model_of.config)
    labels.check_label_names(model_of.label_names, source.label_names)
    default = pathlib.Path(workdir, 'evaluation')
    folder = pathlib.Path(out or default / model_of.config.evaluation.split)
  else:
    if out is None:
      raise UserError('--out is missing: say where the report shall go.')
    config = changed(config)
    source = _open(config)
    model_of = trained.from_file(checkpoint, config, source.label_names)
    folder = pathlib.Path(out)
  return _score(model_of, source, folder)


def _open(config: TrainConfig) -> datasets.VideoSplit:
  return datasets.open_split(
    config.data.dataset, config.data.data_dir, config.evaluation.split
  )


def _score(
  model_of: trained.Trained, source: datasets.VideoSplit, folder: pathlib.Path
) -> dict[str, float]:
  """Scores a model on a split, prints the scores and writes the report."""
  config = model_of.config
  model = models.build(**configs.model_arguments(config.model))
  apply = forward.view_averaged(model, config.data)
  params = model_of.params
  if config.model.scan:
    params = stacking.stack(params)
  params = parallel.replicate(jax.tree.map(jnp.asarray, params))
  batch = forward.padded_batch(config.evaluation.batch_size)
  batches = pipeline.evaluation_batches(
    source,
    config.data,
    temporal_views=config.evaluation.temporal_views,
    spatial_crops=config.evaluation.spatial_crops,
    batch_size=batch,
    process=jax.process_index(),
    processes=jax.process_count(),
  )
  with contextlib.closing(batches):
    predictions = run.score_split(
      tqdm.tqdm(
        batches,
        total=-(-len(source) // batch),
        unit='batch',
        disable=not (sys.stderr.isatty() and distributed.first()),
      ),
      lambda video: apply(params, video),
      len(source),
    )
  scores = metrics.scores(predictions.logits, predictions.labels)
  unreadable = [source.ids[place] for place in predictions.unreadable]
  if not distributed.first():
    return scores
  report.write_report(
    folder,
    predictions,
    ids=[source.ids[place] for place in predictions.index],
    label_names=model_of.label_names,
    protocol={
      'dataset': config.data.dataset,
      'split': config.evaluation.split,
      'examples': len(predictions.index),
      'unreadable': unreadable,
      'temporal_views': config.evaluation.temporal_views,
      'spatial_crops': config.evaluation.spatial_crops,
      'averaged': 'logits',
      'checkpoint': model_of.name,
    },
  )
  for name, value in scores.items():
    print(f'{name:>16}  {value:.4f}')
  if unreadable:
    print(
      f'{len(unreadable)} of {len(source)} videos cannot be read, and count '
      f"nowhere ('{unreadable[0]}' is the first; all are in metrics.json)"
    )
  print(
    f'{len(predictions.index)} videos, {model_of.name}; report: {folder}',
    flush=True,
  )
  return scores


def override(
  config: TrainConfig,
  *,
  split: str | None = None,
  views: str | None = None,
  batch_size: int | None = None,
  data_dir: str | None = None,
  short_videos: str | None = None,
  ema: bool | None = None,
) -> TrainConfig:
  """Returns the config with what the flags ask for.

  Raises:
    UserError: values that do not fit.
  """
  changes = {}
  if views is not None:
    match = re.fullmatch(r'(\d+)x(\d+)', views)
    if not match:
      raise UserError(
        f"--views is '{views}'; it takes temporal x spatial views, e.g. 4x3."
      )
    changes['temporal_views'] = int(match[1])
    changes['spatial_crops'] = int(match[2])
  if split is not None:
    changes['split'] = split
  if batch_size is not None:
    changes['batch_size'] = batch_size
  if ema is not None:
    changes['ema'] = ema
  data = {'data_dir': data_dir, 'short_videos': short_videos}
  given = {key: value for key, value in data.items() if value is not None}
  config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, **given),
    evaluation=dataclasses.replace(config.evaluation, **changes),
  )
  configs.check(config)
  return config

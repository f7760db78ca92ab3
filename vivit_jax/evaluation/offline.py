"""evaluate.py: from a workdir to a report."""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import tqdm

from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import TrainConfig
from vivit_jax.data import datasets, pipeline
from vivit_jax.errors import UserError
from vivit_jax.evaluation import forward, labels, metrics, report, run
from vivit_jax.models import stacking


def evaluate(
  workdir: str | os.PathLike,
  *,
  checkpoint: str = 'best',
  split: str | None = None,
  views: str | None = None,
  batch_size: int | None = None,
  data_dir: str | None = None,
  out: str | None = None,
) -> dict[str, float]:
  """Scores a run's checkpoint, prints the scores and writes the report.

  Args:
    workdir: of the run.
    checkpoint: 'best', 'last', or a step's number.
    split, views, batch_size, data_dir: replace the config's own.
    out: the report's folder; None for `<workdir>/evaluation/<split>`.

  Returns:
    The scores, as in metrics.json.

  Raises:
    UserError: no such run, checkpoint, split or views; labels that the
      checkpoint does not know; a video that cannot be read.
  """
  if not pathlib.Path(workdir).is_dir():
    raise UserError(f'there is no workdir {workdir}: train into it first.')
  with Store(workdir, read_only=True) as store:
    step = store.find(checkpoint)
    if step is None:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    about = store.describe(step)
    config = override(about.config, split, views, batch_size, data_dir)
    params = store.restore_parameters(step)
  source = datasets.open_split(
    config.data.dataset, config.data.data_dir, config.evaluation.split
  )
  heads = config.model.heads
  known = {head: about.label_names[head] for head in heads}
  labels.check_label_names(known, source.label_names)
  model = models.build(**configs.model_arguments(config.model))
  apply = forward.view_averaged(model, config.data)
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
  )
  with contextlib.closing(batches):
    predictions = run.score_split(
      tqdm.tqdm(
        batches,
        total=-(-len(source) // batch),
        unit='batch',
        disable=not sys.stderr.isatty(),
      ),
      lambda video: apply(params, video),
      len(source),
    )
  scores = metrics.scores(predictions.logits, predictions.labels)
  folder = pathlib.Path(
    out or pathlib.Path(workdir) / 'evaluation' / config.evaluation.split
  )
  report.write_report(
    folder,
    predictions,
    ids=source.ids,
    label_names=known,
    protocol={
      'dataset': config.data.dataset,
      'split': config.evaluation.split,
      'examples': len(source),
      'temporal_views': config.evaluation.temporal_views,
      'spatial_crops': config.evaluation.spatial_crops,
      'averaged': 'logits',
      'checkpoint_step': step,
    },
  )
  for name, value in scores.items():
    print(f'{name:>16}  {value:.4f}')
  print(f'{len(source)} videos, step {step}; report: {folder}', flush=True)
  return scores


def override(
  config: TrainConfig,
  split: str | None,
  views: str | None,
  batch_size: int | None,
  data_dir: str | None,
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
  data = config.data
  if data_dir is not None:
    data = dataclasses.replace(data, data_dir=data_dir)
  config = dataclasses.replace(
    config,
    data=data,
    evaluation=dataclasses.replace(config.evaluation, **changes),
  )
  configs.check(config)
  return config

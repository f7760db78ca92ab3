"""One split, one compiled model, and predictions of one checkpoint or many."""

import contextlib
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from vivit_jax import distributed, models, parallel
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.data import lengths, pipeline
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError
from vivit_jax.evaluation import forward, run
from vivit_jax.evaluation.parts import Parts
from vivit_jax.evaluation.predictions import Predictions, Table


class Scorer:
  """Predicts a split by checkpoints of one model.

  Args:
    config: with its heads.
    source: the split.

  Raises:
    UserError: no such model, no example, or clips and views that do not fit the
      videos.
  """

  def __init__(self, config: TrainConfig, source: VideoSplit):
    if not len(source):
      raise UserError(
        f"the split '{config.evaluation.split}' of {config.data.dataset} has "
        'no examples to evaluate: prepare it anew.'
      )
    lengths.check_lengths(source, config.data)
    lengths.check_views(source, config.data, config.evaluation.temporal_views)
    self._config, self._source = config, source
    model = models.build(config.model)
    self._apply = forward.every_view(model, config.data)

  def protocol(self, trained: LoadedModel) -> dict[str, Any]:
    """Returns how scores of a checkpoint come about, as JSON has it."""
    data, evaluation = self._config.data, self._config.evaluation
    return {
      'dataset': data.dataset,
      'split': evaluation.split,
      'content': self._source.content,
      'temporal_views': evaluation.temporal_views,
      'spatial_crops': evaluation.spatial_crops,
      'frames': data.frames,
      'stride': None if data.frames_per_second else data.stride,
      'frames_per_second': data.frames_per_second,
      'crop': list(data.crop),
      'short_side': data.short_side,
      'short_videos': data.short_videos,
      'average': evaluation.average,
      'checkpoint': trained.name,
      'step': trained.step,
      'weights': 'averaged' if trained.averaged else 'last',
      'digest': trained.digest,
      'class_order': trained.class_order,
    }

  def table(
    self, trained: LoadedModel, folder: pathlib.Path
  ) -> tuple[Table, Parts]:
    """Predicts every example once; goes on with what is in the folder.

    Args:
      trained: the checkpoint, of the scorer's config.
      folder: of its results; exists.

    Returns:
      The predictions, in every process; and the parts of the folder, to be
      removed when they are written.

    Raises:
      UserError: no video can be read, or a folder that cannot be written.
    """
    protocol = self.protocol(trained)
    parts = self._parts(protocol, folder)
    predictions = self._predict(trained, parts)
    ids = self._source.ids
    protocol |= {
      'examples': len(predictions.index),
      'unreadable': [ids[place] for place in predictions.unreadable],
    }
    table = Table(
      ids=[ids[place] for place in predictions.index],
      logits=predictions.logits,
      labels=predictions.labels,
      class_names=trained.label_names,
      protocol=protocol,
      index=predictions.index,
    )
    return table, parts

  def _parts(self, protocol: dict[str, Any], folder: pathlib.Path) -> Parts:
    config, source = self._config, self._source
    key = protocol | {
      'model': dataclasses.asdict(config.model),
      'mean': config.data.mean,
      'std': config.data.std,
    }
    # Of the same weights, none changes a logit.
    for told in ('average', 'checkpoint', 'step', 'weights', 'class_order'):
      del key[told]
    views = protocol['temporal_views'] * protocol['spatial_crops']
    logits, labels = {}, {}
    for head, classes in sorted(config.model.heads.items()):
      logits[head] = np.zeros((0, views, classes), np.float32)
      several = head in source.multi_label
      labels[head] = (
        np.zeros((0, classes), np.float32) if several else np.zeros(0, np.int32)
      )
    nothing = Predictions(logits, labels, np.zeros(0, np.int64))
    return Parts(folder, key, nothing, len(source))

  def _predict(self, trained: LoadedModel, parts: Parts) -> Predictions:
    config, source = self._config, self._source
    done = parts.read()
    others = parts.others()
    if others and distributed.first():
      print(
        f'{others[0].parent} also holds finished parts of other evaluations, '
        'of other weights or flags; they stay until these are finished, and '
        f'may be deleted: {", ".join(other.name for other in others)}',
        flush=True,
      )
    finished = set(distributed.gather(done.index).tolist())
    left = [place for place in range(len(source)) if place not in finished]
    if finished:
      print(
        f'going on: {len(finished)} of {len(source)} videos are done',
        flush=True,
      )
    params = parallel.replicate(jax.tree.map(jnp.asarray, trained.stacked))
    size = forward.padded_batch(config.evaluation.batch_size)
    batches = iter(())
    if left:
      batches = pipeline.evaluation_batches(
        source,
        config.data,
        temporal_views=config.evaluation.temporal_views,
        spatial_crops=config.evaluation.spatial_crops,
        batch_size=size,
        videos=left,
        process=jax.process_index(),
        processes=jax.process_count(),
      )
    with contextlib.ExitStack() as stack:
      if left:
        stack.enter_context(contextlib.closing(batches))
      return run.score_split(
        tqdm.tqdm(
          batches,
          total=-(-len(left) // size),
          unit='batch',
          disable=not (sys.stderr.isatty() and distributed.first()),
        ),
        lambda video: self._apply(params, video),
        len(source),
        done=done,
        keep=parts.add,
      )

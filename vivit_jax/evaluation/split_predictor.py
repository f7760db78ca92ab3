"""Predicts a split with several checkpoints of one model, compiled once."""

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
from vivit_jax.data import clip_span, frame_numbers, pipeline
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError
from vivit_jax.evaluation import forward
from vivit_jax.evaluation.partial_results import PartialResults
from vivit_jax.evaluation.predict_split import predict_split
from vivit_jax.evaluation.predictions import Predictions, Table


class SplitPredictor:
  """Predicts the split `source` with several checkpoints of one model.

  Raises:
    UserError: the model is unknown, the split is empty, or its videos are too
      short for the clips and views.
  """

  def __init__(self, config: TrainConfig, source: VideoSplit):
    if not len(source):
      raise UserError(
        f"the split '{config.evaluation.split}' of {config.data.dataset} has "
        'no examples to evaluate: prepare it again.'
      )
    clip_span.check_lengths(source, config.data)
    evaluation = config.evaluation
    clip_span.check_views(
      source, config.data, evaluation.temporal_views, evaluation.views_from
    )
    self._config, self._source = config, source
    model = models.build(config.model)
    self._apply = forward.every_view(model, config.data)

  def protocol(self, loaded: LoadedModel) -> dict[str, Any]:
    """Returns the protocol: all settings that the scores depend on, as JSON."""
    data, evaluation = self._config.data, self._config.evaluation
    return {
      'dataset': data.dataset,
      'split': evaluation.split,
      'content': self._source.content,
      'temporal_views': evaluation.temporal_views,
      'views_from': None if data.is_spread else evaluation.views_from,
      'spatial_crops': evaluation.spatial_crops,
      'frames': data.frames,
      'sampling': data.sampling,
      'stride': frame_numbers.stride_used(data),
      'frames_per_second': data.frames_per_second,
      'crop': list(data.crop),
      'short_side': data.short_side,
      'short_videos': data.short_videos,
      'average': evaluation.average,
      'checkpoint': loaded.name,
      'step': loaded.step,
      'weights': 'averaged' if loaded.averaged else 'last',
      'digest': loaded.digest,
      'class_order': loaded.class_order,
    }

  def predict(
    self, loaded: LoadedModel, out: pathlib.Path
  ) -> tuple[Table, PartialResults]:
    """Predicts every example once; resumes an interrupted evaluation.

    Returns the predictions, the same in every process; and the partial results
    in `out`, to be removed once the predictions are written.

    Raises:
      UserError: no video can be read, or the output folder cannot be written.
    """
    protocol = self.protocol(loaded)
    partial = self._partial_results(protocol, out)
    predictions = self._predict(loaded, partial)
    ids = self._source.ids
    protocol |= {
      'examples': len(predictions.index),
      'unreadable': [ids[i] for i in predictions.unreadable],
    }
    table = Table(
      ids=[ids[i] for i in predictions.index],
      logits=predictions.logits,
      labels=predictions.labels,
      class_names=loaded.label_names,
      protocol=protocol,
      index=predictions.index,
    )
    return table, partial

  def _partial_results(
    self, protocol: dict[str, Any], out: pathlib.Path
  ) -> PartialResults:
    config = self._config
    key = protocol | {
      'model': dataclasses.asdict(config.model),
      'pixels': config.data.pixels,
    }
    # The digest identifies the weights. No logit depends on these keys.
    for name in ('average', 'checkpoint', 'step', 'weights', 'class_order'):
      del key[name]
    views = protocol['temporal_views'] * protocol['spatial_crops']
    logits, labels = {}, {}
    for head, classes in sorted(config.model.heads.items()):
      logits[head] = np.zeros((0, views, classes), np.float32)
      labels[head] = np.zeros(0, np.int32)
      if head in self._source.multi_label:
        labels[head] = np.zeros((0, classes), np.float32)
    empty = Predictions(logits, labels, np.zeros(0, np.int64))
    return PartialResults(out, key, empty)

  def _predict(
    self, loaded: LoadedModel, partial: PartialResults
  ) -> Predictions:
    config, source = self._config, self._source
    done = partial.read()
    finished = set(distributed.gather(done.index).tolist())
    remaining = [i for i in range(len(source)) if i not in finished]
    if distributed.first():
      _print_partial(partial, len(finished), len(source))
    params = parallel.replicate(jax.tree.map(jnp.asarray, loaded.stacked))
    batch_size = forward.padded_batch(config.evaluation.batch_size)
    batches = ()
    if remaining:
      batches = pipeline.evaluation_batches(
        source,
        config.data,
        temporal_views=config.evaluation.temporal_views,
        spatial_crops=config.evaluation.spatial_crops,
        views_from=config.evaluation.views_from,
        batch_size=batch_size,
        videos=remaining,
        process=jax.process_index(),
        processes=jax.process_count(),
      )
    with tqdm.tqdm(
      total=-(-len(remaining) // batch_size),
      unit='batch',
      disable=not (sys.stderr.isatty() and distributed.first()),
    ) as progress:

      def keep(batch: Predictions) -> None:
        partial.add(batch)
        progress.update()

      return predict_split(
        batches,
        lambda batch: self._apply(params, batch),
        len(source),
        done=done,
        keep=keep,
      )


def _print_partial(partial: PartialResults, finished: int, videos: int) -> None:
  """Prints how many videos are done, and the folders of other evaluations."""
  stale = partial.stale()
  if stale:
    print(
      f'{stale[0].parent} also holds partial results of evaluations with other '
      'weights or flags. They stay until those are finished; you may delete '
      f'them: {", ".join(folder.name for folder in stale)}',
      flush=True,
    )
  if finished:
    print(f'resuming: {finished} of {videos} videos are done', flush=True)

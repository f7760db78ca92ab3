"""Runs the frozen encoder over the clips of each split, once."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import parallel, typed
from vivit_jax.data import pipeline
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation import forward
from vivit_jax.models import pixels
from vivit_jax.probing import step as probe_step
from vivit_jax.probing import tokens
from vivit_jax.probing.grid import Grid
from vivit_jax.probing.tokens import Tokens
from vivit_jax.training import inputs, validation

# Prefixes of config keys on which tokens depend; those of training clips; and
# keys that have no effect on them. The batch size determines shards and
# random draws on the devices.
_KEYS = (
  'model.family', 'model.size', 'model.options.', 'model.dtype', 'model.clips',
  'data.', 'probe.dtype', 'train.batch_size',
)  # fmt: skip
_TRAINING_KEYS = ('augment.', 'probe.clips', 'train.seed')
_NO_KEYS = (
  'data.data_dir', 'data.workers', 'data.max_unreadable', 'data.balanced',
  'data.train_split', 'augment.repeats',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Encoder:
  """The frozen encoder of a probe.

  Attributes:
    grid: the heads.
    fixed: `encoder`, its parameters on each device.
    digest: of its parameters.
  """

  grid: Grid
  fixed: Mapping[str, Any]
  digest: str

  def store(
    self, folder: pathlib.Path, train: VideoSplit, validation: VideoSplit
  ) -> tuple[Tokens, Tokens]:
    """Returns the tokens of the training and validation videos.

    Prints their size, then writes what is missing.

    Raises:
      UserError: no room, other tokens in the folder, or files that cannot be
        written.
    """
    sources = (train, True), (validation, False)
    splits = tuple(self._tokens(folder, *source) for source in sources)
    tokens.check_room(splits, self.grid.config.probe.max_gigabytes)
    for split, source in zip(splits, sources):
      if split.missing():
        self._write(split, *source)
    return splits

  def _tokens(
    self, folder: pathlib.Path, source: VideoSplit, training: bool
  ) -> Tokens:
    """Returns the tokens of a split, which may not be written yet."""
    grid, config, probe = self.grid, self.grid.config, self.grid.config.probe
    prefixes = _KEYS + (_TRAINING_KEYS if training else ('evaluation.views',))
    key = {
      name: value
      for name, value in typed.flat(config).items()
      if name.startswith(prefixes) and name not in _NO_KEYS
    }
    key |= {'encoder': self.digest, 'videos': source.content}
    key |= {'class token': 'token' in grid.pools}
    key |= {'probe.average': grid.average}
    clip = (1, config.data.frames, *config.data.crop, 3)
    shapes = jax.eval_shape(
      grid.encode,
      jax.tree.map(lambda x: x[0], self.fixed['encoder']),
      jnp.zeros(clip),
      jnp.zeros(clip[:2], int) if grid.encoder.reads_frame_numbers else None,
    )
    run = config.train
    name = 'training', config.data.train_split
    if not training:
      name = 'validation', run.validation_split
    return Tokens(
      folder=pathlib.Path(probe.folder or folder / 'tokens', *name),
      key=key,
      videos=len(source),
      clips=probe.clips if training else 1,
      shape=shapes.shape[1:],
      dtype=probe.dtype,
      batch_size=forward.padded_batch(run.batch_size),
    )

  def _write(self, split: Tokens, source: VideoSplit, training: bool) -> None:
    grid, config, probe = self.grid, self.grid.config, self.grid.config.probe

    def batches(first: int):
      if not training:
        left = range(first * split.batch_size, len(source))
        return _without_views(validation.batches(config, source, left))
      return pipeline.each_video(
        source,
        config.data,
        config.augment,
        seed=config.train.seed,
        batch_size=split.batch_size,
        clips_of_each=probe.clips,
        first_batch=first,
      )

    def encode(batch, number):
      if training:
        sizes = config.model.heads
        video = inputs.preprocess(batch, number, config, sizes).video
      else:
        video = pixels.normalise(batch['video'], *config.data.pixels)
      numbers = probe_step.frame_numbers(grid, batch)
      return probe_step.encode(grid, batch['encoder'], video, numbers)

    mapped = parallel.map_over_devices(encode)

    def call(batch, number):
      arrays = parallel.shard(inputs.arrays(batch)) | self.fixed
      number = parallel.replicate(np.int32(number))
      return parallel.unshard(mapped(arrays, number))

    split.write(batches, call)


def _without_views(batches: Iterator) -> Iterator[dict[str, Any]]:
  """Yields evaluation batches without the axis of their only view.

  The index of unreadable videos is -1.
  """
  try:
    for batch in batches:
      yield batch | {
        'video': batch['video'][:, 0],
        'frame_numbers': batch['frame_numbers'][:, 0],
        'index': np.where(batch['unreadable'], -1, batch['index']),
      }
  finally:
    batches.close()

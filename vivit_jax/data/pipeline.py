"""Batches of clips, each a function of the seed and the batch's number.

Grain draws the order and every clip's randomness from (seed, position), so the
same batches come whatever the number of worker processes or hosts, and going
on at step s needs nothing but s.
"""

import ctypes
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import grain
import jax
import numpy as np
from absl import flags
from grain.multiprocessing import MultiprocessingOptions

from vivit_jax import randaugment
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import decode, processes, sampling, warp
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError

Batch = dict[str, Any]
_NO_HOST_AUGMENTATION = AugmentConfig()
_NO_VIDEO = -1  # stands where a batch of evaluation is padded


def train_batches(
  split: VideoSplit,
  data: DataConfig,
  *,
  augment: AugmentConfig = _NO_HOST_AUGMENTATION,
  seed: int,
  batch_size: int,
  first_step: int = 0,
  process: int = 0,
  processes: int = 1,
) -> Iterator[Batch]:
  """Returns an endless iterator over random clips.

  With repeated augmentation (Hoffer et al., arXiv 1901.09335), a step takes the
  next `batch_size / augment.repeats` videos of the epoch, and `repeats` clips
  of each with draws of their own. Clip i of a batch is of its video
  i % (batch_size / repeats): neighbours, which mixup mixes, are other videos.

  Args:
    split: the videos.
    data: how clips are cut.
    augment: what of it is the host's: `repeats`, and RandAugment's draws and
      warps.
    seed: of order, starts and crops; each epoch has its own order.
    batch_size: B clips, over all processes; a multiple of `repeats`.
    first_step: number of the first batch.
    process, processes: this host and how many there are; each makes its own
      run of consecutive examples of the global batch.

  Yields:
    `video` uint8 [B / processes, T, H, W, 3], `labels` int32 [B / processes]
    of each head, `index`, the videos' numbers in the split, and with
    RandAugment `randaugment`, the draws for the accelerator, float32
    [B / processes, layers, 4].

  Raises:
    UserError: videos that are too short.
  """
  check_lengths(split, data)
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  draws = (
    grain.MapDataset.source(range(len(split)))
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(functools.partial(_draw, augment.repeats))
    .batch(batch_size // augment.repeats)
  )
  clips = functools.partial(_training_clips, split, data, augment, mine)
  return _iterate(draws[first_step:].map(clips), data.workers)


def evaluation_batches(
  split: VideoSplit,
  data: DataConfig,
  *,
  temporal_views: int,
  spatial_crops: int,
  batch_size: int,
) -> Iterator[Batch]:
  """Returns an iterator over every video once, in full batches.

  Args:
    split: the videos.
    data: how clips are cut.
    temporal_views: evenly spaced clips of a video.
    spatial_crops: 1, the centre, or 3 along the longer side.
    batch_size: B; the last batch is padded up to it.

  Yields:
    `video` uint8 [B, V, T, H, W, 3], the V views being temporal x spatial,
    `labels` int32 [B] of each head, `index` [B], the videos' numbers in the
    split, and `mask` bool [B], false where the batch is padded.

  Raises:
    UserError: videos that are too short, or more views than any has room for.
  """
  check_lengths(split, data)
  check_views(split, data, temporal_views)
  padding = -len(split) % batch_size
  videos = [*range(len(split)), *[_NO_VIDEO] * padding]
  views = functools.partial(
    _evaluation_views, split, data, temporal_views, spatial_crops
  )
  batches = grain.MapDataset.source(videos).map(views).batch(batch_size)
  return _iterate(batches, data.workers)


def check_lengths(split: VideoSplit, data: DataConfig) -> None:
  """Raises a UserError where videos are shorter than a clip and must not be."""
  needed = sampling.span(data.frames, data.stride)
  short = np.flatnonzero(split.frame_counts < needed)
  if data.short_videos == 'refuse' and len(short):
    first = short[0]
    raise UserError(
      f'{len(short)} of {len(split)} videos are shorter than a clip of '
      f'{data.frames} frames at stride {data.stride}, which reaches over '
      f"{needed}: '{split.ids[first]}' has {split.frame_counts[first]} frames. "
      "Lower data.frames or data.stride, or let data.short_videos be 'loop' "
      '(--short_videos=loop of evaluate.py).'
    )


def check_views(split: VideoSplit, data: DataConfig, views: int) -> None:
  """Raises a UserError where even the longest video repeats views."""
  longest = int(split.frame_counts.max(initial=1))
  room = max(1, longest - sampling.span(data.frames, data.stride) + 1)
  if views > room:
    raise UserError(
      f'{views} temporal views are asked for, but the longest video has '
      f'{longest} frames, room for {room} different clips of {data.frames} '
      f'frames at stride {data.stride}: set evaluation.temporal_views, or '
      f'--views of evaluate.py, to at most {room}.'
    )


def _draw(
  repeats: int, video: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Gives a video the seeds of its clips, the same on every host."""
  return video, rng.integers(2**62, size=repeats)


def _training_clips(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  mine: slice,
  draws: tuple[np.ndarray, np.ndarray],
) -> Batch:
  videos, seeds = draws  # [n], [n, repeats]
  videos, seeds = np.tile(videos, augment.repeats), seeds.T.ravel()
  clips = [
    _training_clip(split, data, augment, int(video), np.random.default_rng(s))
    for video, s in zip(videos[mine], seeds[mine])
  ]
  return jax.tree.map(lambda *values: np.stack(values), *clips)


def _training_clip(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  video: int,
  rng: np.random.Generator,
) -> Batch:
  frames = sampling.random_clip(
    int(split.frame_counts[video]), data.frames, data.stride, rng
  )
  images = _read(split, video, frames)
  box = sampling.random_box(
    images[0].shape[:2], data.crop, data.short_side, data.scale_jitter, rng
  )
  layers = randaugment.draw(
    augment.randaugment_layers,
    augment.randaugment_magnitude,
    augment.randaugment_operations,
    rng,
  )
  clip = warp.crop_and_warp(images, box, data.crop, layers)
  drawn = {'randaugment': layers} if len(layers) else {}
  labels = _labels(split, video)
  return {'video': clip, 'labels': labels, 'index': video, **drawn}


def _evaluation_views(
  split: VideoSplit,
  data: DataConfig,
  temporal_views: int,
  spatial_crops: int,
  video: int,
) -> Batch:
  views = temporal_views * spatial_crops
  if video == _NO_VIDEO:
    return {
      'video': np.zeros((views, data.frames, *data.crop, 3), np.uint8),
      'labels': {head: np.int32(0) for head in split.labels},
      'index': video,
      'mask': False,
    }
  frames = sampling.uniform_clips(
    int(split.frame_counts[video]), data.frames, data.stride, temporal_views
  )
  needed, places = np.unique(frames, return_inverse=True)
  images = _read(split, video, needed)
  boxes = sampling.uniform_boxes(
    images[0].shape[:2], data.crop, data.short_side, spatial_crops
  )
  crops = [
    np.stack([sampling.crop_and_resize(i, box, data.crop) for i in images])
    for box in boxes
  ]
  clips = [crop[row] for row in places.reshape(frames.shape) for crop in crops]
  return {
    'video': np.stack(clips),
    'labels': _labels(split, video),
    'index': video,
    'mask': True,
  }


def _read(
  split: VideoSplit, video: int, frames: Sequence[int]
) -> list[np.ndarray]:
  """Returns frames of a video, each uint8 [H, W, 3]."""
  where = f"video '{split.ids[video]}'"
  return [
    decode.decode_jpeg(data, where)
    for data in split.read_frames(video, [int(f) for f in frames])
  ]


def _labels(split: VideoSplit, video: int) -> dict[str, np.int32]:
  return {head: values[video] for head, values in split.labels.items()}


def _iterate(batches: grain.MapDataset, workers: int) -> Iterator[Batch]:
  """Yields the batches, made by worker processes; ends them when closed."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # grain reads absl's flags
  dataset = batches.to_iter_dataset(
    grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  )
  if workers:
    dataset = dataset.mp_prefetch(
      MultiprocessingOptions(workers, per_worker_buffer_size=2), _start_worker
    )
  iterator = iter(dataset)
  try:
    with processes.interrupts_held():
      batch = next(iterator, None)
    while batch is not None:
      yield batch
      batch = next(iterator, None)
  finally:
    close = getattr(iterator, 'close', None)
    if close is not None:
      close()


def _start_worker(worker: int, workers: int) -> None:
  """Readies a worker process.

  With large frames, memory that the allocator keeps, instead of giving it back
  and asking again for every batch, is worth 1.6 times the speed.
  """
  del worker, workers
  processes.obey_parent()
  cv2.setNumThreads(1)
  if sys.platform.startswith('linux'):
    library = ctypes.CDLL(None)
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD of mallopt(3), of glibc.
    for parameter, size in ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 64 << 20)):
      if hasattr(library, 'mallopt'):
        library.mallopt(parameter, size)

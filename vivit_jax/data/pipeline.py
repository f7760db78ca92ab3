"""Input pipeline: batches of clips, determined by the seed and the step.

Grain derives the order and every clip's randomness from (seed, position). So
the batches are the same for any number of workers and hosts, and resuming needs
only the step's number.
"""

import ctypes
import dataclasses
import functools
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence

import cv2
import grain
import numpy as np
from absl import flags
from grain.multiprocessing import MultiprocessingOptions

from vivit_jax import processes
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import clip_span, clips, sampling, shared_batches
from vivit_jax.data.clips import Batch
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError

_NO_HOST_AUGMENTATION = AugmentConfig()


def train_batches(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig = _NO_HOST_AUGMENTATION,
  *,
  seed: int,
  batch_size: int,
  first_step: int = 0,
  process: int = 0,
  processes: int = 1,
  make: Callable[[tuple[np.ndarray, np.ndarray]], Batch] | None = None,
) -> Iterator[Batch]:
  """Returns an endless iterator over batches of random clips.

  With repeated augmentation (Hoffer et al., arXiv 1901.09335), a step takes the
  next `batch_size / augment.repeats` videos of the epoch, and `repeats`
  independent clips of each. Clip i of the batch shows video
  i % (batch_size / repeats) of these: mixup mixes neighbours, which should be
  different videos. With `data.balanced`, there are no epochs: every video is
  drawn independently.

  Args:
    split: the videos.
    data: sampling and crop of the clips.
    augment: only `repeats`, and RandAugment's draws and warps, are used here.
    seed: determines order and clips; each epoch has its own order.
    batch_size: B, the clips of all processes; a multiple of `repeats`.
    first_step: number of the first batch.
    process, processes: index of this host, and number of hosts. Each makes a
      consecutive part of the global batch.
    make: makes the batch in this process, instead of decoding: from the videos
      int [n], and seeds of their clips int [n, repeats].

  Yields:
    A dict for b = B / processes clips:
      video: uint8 [b, T, H, W, 3].
      frame_numbers: int32 [b, T], each frame's number in its video, from 0.
      labels: results of `VideoSplit.labels_of`, stacked for each head.
      index: int [b], the videos' indices in the split.
      unreadable: int [b], index of the unreadable video that this one
        replaces, or -1.
      randaugment: float32 [b, layers, 4], the draws; with RandAugment only.

  Raises:
    UserError: videos that are too short.
  """
  clip_span.check_lengths(split, data)
  local = _local(batch_size, process, processes)
  order = grain.MapDataset.source(range(len(split))).seed(seed)
  if data.balanced is None:
    draw = functools.partial(_with_seeds, augment.repeats)
    draws = order.shuffle().repeat().random_map(draw)
  else:
    cumulative = np.cumsum(sampling.balanced(_classes(split, data.balanced)))
    draw = functools.partial(_balanced_draw, augment.repeats, cumulative)
    draws = order.repeat().random_map(draw)
  batches = draws.batch(batch_size // augment.repeats)[first_step:]
  if make is not None:
    return _iterate(batches.map(make), 0)
  make = functools.partial(clips.training_clips, split, data, augment, local)
  return _iterate(batches.map(make), data.workers)


def each_video(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  *,
  seed: int,
  batch_size: int,
  clips_of_each: int,
  first_batch: int = 0,
) -> Iterator[Batch]:
  """Returns an iterator over random clips of every video, in order.

  Clip c of video v is number v * `clips_of_each` + c. The last batch is filled
  with the first clips. Arguments and batches: see `train_batches`.
  """
  clip_span.check_lengths(split, data)
  count = len(split) * clips_of_each
  numbers = [n % count for n in range(count + -count % batch_size)]
  draw = functools.partial(_numbered, clips_of_each)
  draws = grain.MapDataset.source(numbers).seed(seed).random_map(draw)
  once = dataclasses.replace(augment, repeats=1)
  whole = slice(0, batch_size)
  make = functools.partial(clips.training_clips, split, data, once, whole)
  batches = draws.batch(batch_size)[first_batch:]
  return _iterate(batches.map(make), data.workers)


def _numbered(
  clips_of_each: int, number: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Returns the video of a clip, with the clip's seed."""
  return _with_seeds(1, number // clips_of_each, rng)


def _classes(split: VideoSplit, head: str) -> np.ndarray:
  """Returns the classes int [n] of the head to balance.

  Raises:
    UserError: no such head, or a multi-label head.
  """
  if head not in split.labels or head in split.multi_label:
    single = [name for name in split.labels if name not in split.multi_label]
    raise UserError(
      f"data.balanced is '{head}'; use a head with one label per video: "
      f'{", ".join(single)}.'
    )
  return split.labels[head]


def evaluation_batches(
  split: VideoSplit,
  data: DataConfig,
  *,
  temporal_views: int,
  spatial_crops: int,
  views_from: str = 'middle',
  batch_size: int,
  videos: Sequence[int] | None = None,
  process: int = 0,
  processes: int = 1,
) -> Iterator[Batch]:
  """Returns an iterator over every video once, in full batches.

  Args:
    split: the videos.
    data: sampling and crop of the clips.
    temporal_views: clips of a video.
    views_from: where they begin, see `EvaluationConfig`.
    spatial_crops: 1 (the centre), or 3 along the longer side.
    batch_size: B, the videos of all processes; the last batch is padded.
    videos: indices of the videos to take, at least one, the same in all
      processes; None for all.
    process, processes: index of this host, and number of hosts. Each makes a
      consecutive part of every global batch.

  Yields:
    A dict for b = B / processes videos with V = temporal x spatial views:
      video: uint8 [b, V, T, H, W, 3].
      frame_numbers: int32 [b, V, T], each frame's number in its video.
      labels: results of `VideoSplit.labels_of`, stacked for each head.
      index: int [b], the videos' indices in the split; -1 for padding.
      mask: bool [b], false for padding.
      unreadable: bool [b], true for videos that cannot be decoded; their
        pixels are 0.

  Raises:
    UserError: videos that are too short, or more views than distinct clips.
  """
  clip_span.check_lengths(split, data)
  clip_span.check_views(split, data, temporal_views, views_from)
  indices = list(range(len(split)) if videos is None else videos)
  indices += [clips.NO_VIDEO] * (-len(indices) % batch_size)
  local = _local(batch_size, process, processes)
  views = functools.partial(
    clips.evaluation_views,
    split,
    data,
    (temporal_views, spatial_crops, views_from),
    local,
  )
  batches = grain.MapDataset.source(indices).batch(batch_size)
  return _iterate(batches.map(views), data.workers)


def _local(batch_size: int, process: int, processes: int) -> slice:
  """Returns this process's part of the global batch."""
  size = batch_size // processes
  return slice(process * size, (process + 1) * size)


def _with_seeds(
  repeats: int, video: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Returns a video with the seeds of its clips, the same on every host."""
  return video, rng.integers(2**62, size=repeats)


def _balanced_draw(
  repeats: int, cumulative: np.ndarray, position: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Draws a video by cumulative probabilities, and the seeds of its clips."""
  del position
  drawn = np.searchsorted(cumulative, rng.uniform() * cumulative[-1], 'right')
  return _with_seeds(repeats, int(min(drawn, len(cumulative) - 1)), rng)


def _iterate(batches: grain.MapDataset, workers: int) -> Iterator[Batch]:
  """Yields batches from worker processes; closing it ends the processes."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # grain reads absl's flags
  dataset = batches.to_iter_dataset(
    grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  )
  name = uuid.uuid4().hex
  if workers:
    # Grain's own shared memory would be new for each array of each batch.
    options = grain.experimental.DatasetOptions(min_shm_size=1 << 62)
    dataset = grain.experimental.WithOptionsIterDataset(dataset, options)
    dataset = dataset.mp_prefetch(
      MultiprocessingOptions(workers, per_worker_buffer_size=2),
      functools.partial(_start_worker, name),
    )
  iterator = iter(dataset)
  try:
    with processes.defer_sigint():
      batch = next(iterator, None)
    while batch is not None:
      yield batch
      batch = next(iterator, None)
  finally:
    if hasattr(iterator, 'close'):
      iterator.close()
    shared_batches.end(name)


def _start_worker(iterator: str, worker: int, workers: int) -> None:
  """Initialises a worker process of an iterator.

  The allocator keeps freed memory: with large frames, returning it to the
  system after every batch made workers 1.6 times slower.
  """
  del worker, workers
  processes.init_worker()
  shared_batches.start_worker(iterator)
  # A scheduler sends SIGTERM to all processes, but the trainer needs batches to
  # finish its step. It then ends its workers itself.
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  cv2.setNumThreads(1)
  if sys.platform.startswith('linux'):
    library = ctypes.CDLL(None)
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD of glibc's mallopt(3).
    for parameter, size in ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 64 << 20)):
      if hasattr(library, 'mallopt'):
        library.mallopt(parameter, size)

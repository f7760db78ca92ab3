"""Batches of clips, each a function of the seed and the batch's number.

Grain draws the order and every clip's randomness from (seed, position), so the
same batches come whatever the number of worker processes or hosts, and going
on at step s needs nothing but s.
"""

import ctypes
import functools
import signal
import sys
from collections.abc import Iterator, Sequence

import cv2
import grain
import numpy as np
from absl import flags
from grain.multiprocessing import MultiprocessingOptions

from vivit_jax import processes
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import clips, lengths, sampling
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
    `video` uint8 [B / processes, T, H, W, 3], `labels` of each head (as
    `VideoSplit.labels_of`, batched), `index`, the videos' numbers in the split,
    `unreadable`, the number of the video in whose stead it came, or -1, and
    with RandAugment `randaugment`, the draws for the accelerator, float32
    [B / processes, layers, 4].

  Raises:
    UserError: videos that are too short.
  """
  lengths.check_lengths(split, data)
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  order = grain.MapDataset.source(range(len(split))).seed(seed)
  if data.balanced is None:
    draw = functools.partial(_draw, augment.repeats)
    draws = order.shuffle().repeat().random_map(draw)
  else:
    likelihoods = np.cumsum(sampling.balanced(_classes(split, data.balanced)))
    draw = functools.partial(_pick, augment.repeats, likelihoods)
    draws = order.repeat().random_map(draw)
  make = functools.partial(clips.training_clips, split, data, augment, mine)
  batches = draws.batch(batch_size // augment.repeats)
  return _iterate(batches[first_step:].map(make), data.workers)


def _classes(split: VideoSplit, head: str) -> np.ndarray:
  """Returns the class of each video, int [n], of the head to balance."""
  if head not in split.labels or head in split.multi_label:
    single = [name for name in split.labels if name not in split.multi_label]
    raise UserError(
      f"data.balanced is '{head}'; it takes a head with one label a video: "
      f'{", ".join(single)}.'
    )
  return split.labels[head]


def evaluation_batches(
  split: VideoSplit,
  data: DataConfig,
  *,
  temporal_views: int,
  spatial_crops: int,
  batch_size: int,
  videos: Sequence[int] | None = None,
  process: int = 0,
  processes: int = 1,
) -> Iterator[Batch]:
  """Returns an iterator over every video once, in full batches.

  Args:
    split: the videos.
    data: how clips are cut.
    temporal_views: evenly spaced clips of a video.
    spatial_crops: 1, the centre, or 3 along the longer side.
    batch_size: B, over all processes; the last batch is padded up to it.
    videos: those to make, at least one, by their numbers in the split, the
      same in all processes; None: every one.
    process, processes: this host and how many there are; each makes its own
      run of consecutive videos of every batch, B / processes of them.

  Yields:
    `video` uint8 [B, V, T, H, W, 3], the V views being temporal x spatial,
    `labels` of each head (as `VideoSplit.labels_of`, batched), `index` [B], the
    videos' numbers in the split, `mask` bool [B], false where the batch is
    padded, and `unreadable` bool [B], true for videos that are all zero because
    they cannot be decoded.

  Raises:
    UserError: videos that are too short, or more views than any has room for.
  """
  lengths.check_lengths(split, data)
  lengths.check_views(split, data, temporal_views)
  asked = range(len(split)) if videos is None else videos
  padding = -len(asked) % batch_size
  places = [*asked, *[clips.NO_VIDEO] * padding]
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  views = functools.partial(
    clips.evaluation_views, split, data, temporal_views, spatial_crops, mine
  )
  batches = grain.MapDataset.source(places).batch(batch_size)
  return _iterate(batches.map(views), data.workers)


def _draw(
  repeats: int, video: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Gives a video the seeds of its clips, the same on every host."""
  return video, rng.integers(2**62, size=repeats)


def _pick(
  repeats: int, likelihoods: np.ndarray, place: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
  """Draws a video by cumulated likelihoods, and the seeds of its clips."""
  del place
  drawn = np.searchsorted(likelihoods, rng.uniform() * likelihoods[-1], 'right')
  return _draw(repeats, int(min(drawn, len(likelihoods) - 1)), rng)


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
  # A scheduler sends it to all processes; training finishes its step, for
  # which it needs batches, and then ends its workers by other means.
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  cv2.setNumThreads(1)
  if sys.platform.startswith('linux'):
    library = ctypes.CDLL(None)
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD of mallopt(3), of glibc.
    for parameter, size in ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 64 << 20)):
      if hasattr(library, 'mallopt'):
        library.mallopt(parameter, size)

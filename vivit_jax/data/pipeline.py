"""Batches of clips, each a function of the seed and the batch's number.

Grain draws the order and every clip's randomness from (seed, position), so the
same batches come whatever the number of worker processes or hosts, and going
on at step s needs nothing but s.
"""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags
from grain.multiprocessing import MultiprocessingOptions, SharedMemoryArray

from vivit_jax.config import DataConfig
from vivit_jax.data import decode, processes, sampling
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError

Batch = dict[str, Any]
_NO_VIDEO = -1  # stands where a batch of evaluation is padded
_MADV_POPULATE_WRITE = 23  # of madvise(2), since Linux 5.14


def train_batches(
  split: VideoSplit,
  data: DataConfig,
  *,
  seed: int,
  batch_size: int,
  first_step: int = 0,
  process: int = 0,
  processes: int = 1,
) -> Iterator[Batch]:
  """Returns an endless iterator over random clips.

  Args:
    split: the videos.
    data: how clips are cut.
    seed: of order, starts and crops; each epoch has its own order.
    batch_size: B, over all processes.
    first_step: number of the first batch.
    process, processes: this host and how many there are; each makes its own
      run of consecutive examples of the global batch.

  Yields:
    `video` uint8 [B / processes, T, H, W, 3], `labels` int32 [B / processes]
    of each head, and `index`, the videos' numbers in the split.

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
    .random_map(_draw)
    .batch(batch_size)
  )
  clips = functools.partial(_training_clips, split, data, mine)
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
  batches = grain.MapDataset.source(videos).batch(batch_size)
  return _iterate(batches.map(views), data.workers)


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


def _draw(video: int, rng: np.random.Generator) -> tuple[int, int]:
  """Gives a video the seed of its clip, the same on every host."""
  return video, rng.integers(2**62)


def _training_clips(
  split: VideoSplit,
  data: DataConfig,
  mine: slice,
  draws: tuple[np.ndarray, np.ndarray],
) -> Batch:
  videos, seeds = (values[mine] for values in draws)
  shape = (len(videos), data.frames, *data.crop, 3)
  with _new_batch(shape, data.workers) as clips:
    for clip, video, seed in zip(clips, videos, seeds):
      rng = np.random.default_rng(seed)
      _training_clip(split, data, int(video), rng, clip)
  return {'video': clips, 'labels': _labels(split, videos), 'index': videos}


def _training_clip(
  split: VideoSplit,
  data: DataConfig,
  video: int,
  rng: np.random.Generator,
  clip: np.ndarray,
) -> None:
  """Fills `clip`, uint8 [T, *crop, 3], with a random part of a video."""
  frames = sampling.random_clip(
    int(split.frame_counts[video]), data.frames, data.stride, rng
  )
  box = None
  for place, image in enumerate(_read(split, video, frames)):
    if box is None:
      box = sampling.random_box(
        image.shape[:2], data.crop, data.short_side, data.scale_jitter, rng
      )
    sampling.crop_and_resize(image, box, data.crop, out=clip[place])


def _evaluation_views(
  split: VideoSplit,
  data: DataConfig,
  temporal_views: int,
  spatial_crops: int,
  videos: np.ndarray,
) -> Batch:
  mask = videos != _NO_VIDEO
  views = temporal_views * spatial_crops
  shape = (len(videos), views, data.frames, *data.crop, 3)
  with _new_batch(shape, data.workers) as clips:
    clips[~mask] = 0
    for place in np.flatnonzero(mask):
      by_crop = clips[place].reshape(temporal_views, spatial_crops, *shape[2:])
      _evaluation_clips(split, data, int(videos[place]), by_crop)
  labels = {h: v * mask for h, v in _labels(split, videos).items()}
  return {'video': clips, 'labels': labels, 'index': videos, 'mask': mask}


def _evaluation_clips(
  split: VideoSplit, data: DataConfig, video: int, clips: np.ndarray
) -> None:
  """Fills `clips`, uint8 [views, crops, T, *crop, 3]; decodes frames once."""
  frames = sampling.uniform_clips(
    int(split.frame_counts[video]), data.frames, data.stride, len(clips)
  )
  boxes = None
  needed = np.unique(frames)
  for frame, image in zip(needed, _read(split, video, needed)):
    if boxes is None:
      boxes = sampling.uniform_boxes(
        image.shape[:2], data.crop, data.short_side, clips.shape[1]
      )
    views, times = np.nonzero(frames == frame)
    for number, box in enumerate(boxes):
      part = sampling.crop_and_resize(image, box, data.crop)
      clips[views, number, times] = part


def _read(
  split: VideoSplit, video: int, frames: Sequence[int]
) -> Iterator[np.ndarray]:
  """Yields frames of a video, each uint8 [H, W, 3]."""
  where = f"video '{split.ids[video]}'"
  for data in split.read_frames(video, [int(f) for f in frames]):
    yield decode.decode_jpeg(data, where)


@contextlib.contextmanager
def _new_batch(shape: Sequence[int], workers: int) -> Iterator[np.ndarray]:
  """Gives uint8 memory of a batch to fill; a worker's is seen by its parent.

  What is written there need not be copied to the parent.
  """
  if not workers:
    yield np.empty(shape, np.uint8)
    return
  batch = SharedMemoryArray(shape, np.uint8)
  if sys.platform.startswith('linux'):
    # All pages in one call cost two thirds of as many page faults; a system
    # that does not know the call refuses it, and faults.
    address, size = ctypes.c_void_p(batch.ctypes.data), batch.nbytes
    ctypes.CDLL(None).madvise(
      address, ctypes.c_size_t(size), _MADV_POPULATE_WRITE
    )
  try:
    yield batch
  except BaseException:
    batch.metadata.close_and_unlink_shm()  # nobody else will
    raise


def _labels(split: VideoSplit, videos: np.ndarray) -> dict[str, np.ndarray]:
  return {head: values[videos] for head, values in split.labels.items()}


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

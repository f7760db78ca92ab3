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
from vivit_jax.data import processes, sampling
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.errors import UserError

Batch = dict[str, Any]
_NO_VIDEO = -1  # stands where there is none
_MADV_POPULATE_WRITE = 23  # of madvise(2), since Linux 5.14
_MOST_TRIES = 20  # videos in a row that cannot be read


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
    `video` uint8 [B / processes, T, H, W, 3], `labels` of each head (as
    `VideoSplit.labels_of`, batched), `index`, the videos' numbers in the split,
    and `unreadable`, the number of the video in whose stead it came, or -1.

  Raises:
    UserError: videos that are too short.
  """
  check_lengths(split, data)
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  order = grain.MapDataset.source(range(len(split))).seed(seed)
  if data.balanced is None:
    order = order.shuffle().repeat().random_map(_draw)
  else:
    likelihoods = np.cumsum(sampling.balanced(_classes(split, data.balanced)))
    order = order.repeat().random_map(functools.partial(_pick, likelihoods))
  clips = functools.partial(_training_clips, split, data, mine)
  batches = order.batch(batch_size)[first_step:].map(clips)
  return _iterate(batches, data.workers)


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
    `labels` of each head (as `VideoSplit.labels_of`, batched), `index` [B], the
    videos' numbers in the split, `mask` bool [B], false where the batch is
    padded, and `unreadable` bool [B], true for videos that are all zero because
    they cannot be decoded.

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


def strides(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns frames of each video from one of a clip to the next, float [n].

  Raises:
    UserError: frames a second are asked for, and a video's own are not known.
  """
  if data.frames_per_second is None:
    return np.full(len(split), float(data.stride))
  unknown = np.flatnonzero(~(split.rates > 0))
  if len(unknown):
    raise UserError(
      f'data.frames_per_second is {data.frames_per_second}, but the frame rate '
      f"of {len(unknown)} videos is not known ('{split.ids[unknown[0]]}'): use "
      'data.stride instead.'
    )
  return split.rates / data.frames_per_second


def _spans(split: VideoSplit, data: DataConfig) -> np.ndarray:
  """Returns how many frames of each video a clip reaches over, int [n]."""
  of_each, inverse = np.unique(strides(split, data), return_inverse=True)
  spans = [sampling.span(data.frames, stride) for stride in of_each]
  return np.asarray(spans, np.int64)[inverse]


def check_lengths(split: VideoSplit, data: DataConfig) -> None:
  """Raises a UserError where videos are shorter than a clip and must not be."""
  needed = _spans(split, data)
  short = np.flatnonzero(split.frame_counts < needed)
  if data.short_videos == 'refuse' and len(short):
    first = short[0]
    raise UserError(
      f'{len(short)} of {len(split)} videos are shorter than a clip of '
      f'{data.frames} frames {_pace(data)}, which reaches over '
      f"{needed[first]}: '{split.ids[first]}' has {split.frame_counts[first]} "
      'frames. Take fewer data.frames, closer together, or let '
      "data.short_videos be 'loop' or 'hold' (--short_videos=loop of "
      'evaluate.py).'
    )


def check_views(split: VideoSplit, data: DataConfig, views: int) -> None:
  """Raises a UserError where even the longest video repeats views."""
  rooms = split.frame_counts - _spans(split, data) + 1
  room = max(1, int(rooms.max(initial=1)))
  if views > room:
    longest = split.frame_counts[np.argmax(rooms)]
    raise UserError(
      f'{views} temporal views are asked for, but the longest video has '
      f'{longest} frames, room for {room} different clips of {data.frames} '
      f'frames {_pace(data)}: set evaluation.temporal_views, or --views of '
      f'evaluate.py, to at most {room}.'
    )


def _pace(data: DataConfig) -> str:
  if data.frames_per_second is None:
    return f'at stride {data.stride}'
  return f'at {data.frames_per_second:g} a second'


def _draw(video: int, rng: np.random.Generator) -> tuple[int, int]:
  """Gives a video the seed of its clip, the same on every host."""
  return video, rng.integers(2**62)


def _pick(
  likelihoods: np.ndarray, place: int, rng: np.random.Generator
) -> tuple[int, int]:
  """Draws a video by cumulated likelihoods, and the seed of its clip."""
  del place
  video = np.searchsorted(likelihoods, rng.uniform() * likelihoods[-1], 'right')
  return int(min(video, len(likelihoods) - 1)), rng.integers(2**62)


def _training_clips(
  split: VideoSplit,
  data: DataConfig,
  mine: slice,
  draws: tuple[np.ndarray, np.ndarray],
) -> Batch:
  videos, seeds = (np.array(values[mine]) for values in draws)
  unreadable = np.full_like(videos, _NO_VIDEO)
  shape = (len(videos), data.frames, *data.crop, 3)
  with _new_batch(shape, data.workers) as clips:
    for place, clip in enumerate(clips):
      rng = np.random.default_rng(seeds[place])
      asked = int(videos[place])
      videos[place] = _training_clip(split, data, asked, rng, clip)
      if videos[place] != asked:
        unreadable[place] = asked
  return {
    'video': clips,
    'labels': _labels(split, videos),
    'index': videos,
    'unreadable': unreadable,
  }


def _training_clip(
  split: VideoSplit,
  data: DataConfig,
  video: int,
  rng: np.random.Generator,
  clip: np.ndarray,
) -> int:
  """Fills `clip`, of the next video that can be read, if this one cannot.

  Returns:
    The video that it is of.
  """
  for tried in range(_MOST_TRIES):
    try:
      _random_clip(split, data, video, rng, clip)
      return video
    except UnreadableVideo:
      if tried == _MOST_TRIES - 1:
        raise
    video = (video + 1) % len(split)
  raise AssertionError


def _random_clip(
  split: VideoSplit,
  data: DataConfig,
  video: int,
  rng: np.random.Generator,
  clip: np.ndarray,
) -> None:
  """Fills `clip`, uint8 [T, *crop, 3], with a random part of a video."""
  frames = sampling.random_clip(
    int(split.frame_counts[video]),
    data.frames,
    _stride(split, data, video),
    rng,
    data.short_videos,
  )
  box = None
  for number, image in split.decode_frames(video, frames):
    if box is None:
      box = sampling.random_box(
        image.shape[:2], data.crop, data.short_side, data.scale_jitter, rng
      )
    first, *others = np.flatnonzero(frames == number)
    sampling.crop_and_resize(image, box, data.crop, out=clip[first])
    clip[others] = clip[first]


def _stride(split: VideoSplit, data: DataConfig, video: int) -> float:
  if data.frames_per_second is None:
    return data.stride
  return split.rates[video] / data.frames_per_second


def _evaluation_views(
  split: VideoSplit,
  data: DataConfig,
  temporal_views: int,
  spatial_crops: int,
  videos: np.ndarray,
) -> Batch:
  videos = np.array(videos)
  mask = videos != _NO_VIDEO
  unreadable = np.zeros_like(mask)
  views = temporal_views * spatial_crops
  shape = (len(videos), views, data.frames, *data.crop, 3)
  with _new_batch(shape, data.workers) as clips:
    clips[~mask] = 0
    for place in np.flatnonzero(mask):
      by_crop = clips[place].reshape(temporal_views, spatial_crops, *shape[2:])
      try:
        _uniform_clips(split, data, int(videos[place]), by_crop)
      except UnreadableVideo:
        unreadable[place] = True
        clips[place] = 0
  return {
    'video': clips,
    'labels': _labels(split, np.maximum(videos, 0)),
    'index': videos,
    'mask': mask,
    'unreadable': unreadable,
  }


def _uniform_clips(
  split: VideoSplit, data: DataConfig, video: int, clips: np.ndarray
) -> None:
  """Fills `clips`, uint8 [views, crops, T, *crop, 3]; decodes frames once."""
  frames = sampling.uniform_clips(
    int(split.frame_counts[video]),
    data.frames,
    _stride(split, data, video),
    len(clips),
    data.short_videos,
  )
  boxes = None
  for number, image in split.decode_frames(video, np.unique(frames)):
    if boxes is None:
      boxes = sampling.uniform_boxes(
        image.shape[:2], data.crop, data.short_side, clips.shape[1]
      )
    views, times = np.nonzero(frames == number)
    for crop, box in enumerate(boxes):
      part = sampling.crop_and_resize(image, box, data.crop)
      clips[views, crop, times] = part


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
  """Returns the labels of videos, batched."""
  each = [split.labels_of(int(video)) for video in videos]
  return {head: np.stack([labels[head] for labels in each]) for head in each[0]}


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

"""Clips and views of videos, cut as their frames are decoded."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from grain.multiprocessing import SharedMemoryArray

from vivit_jax.augment import draws, randaugment
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import lengths, sampling
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.datasets import VideoSplit

Batch = dict[str, Any]
NO_VIDEO = -1  # stands where there is none
_MADV_POPULATE_WRITE = 23  # of madvise(2), since Linux 5.14
_MOST_TRIES = 20  # videos in a row that cannot be read


def training_clips(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  mine: slice,
  videos_and_seeds: tuple[np.ndarray, np.ndarray],
) -> Batch:
  """Makes this process's clips of a batch, from the seeds of all its clips.

  Args:
    split: the videos.
    data, augment: how clips are cut and warped.
    mine: the part of the batch to make.
    videos_and_seeds: numbers of the batch's videos, int [n], and seeds of their
      clips, int [n, repeats]; clip i is of video i % n.

  Returns:
    The batch, as `pipeline.train_batches` yields it.

  Raises:
    UnreadableVideo: too many videos in a row cannot be read.
  """
  videos, seeds = videos_and_seeds
  videos = np.tile(videos, augment.repeats)[mine]
  seeds = seeds.T.ravel()[mine]
  unreadable = np.full_like(videos, NO_VIDEO)
  layers = []
  shape = (len(videos), data.frames, *data.crop, 3)
  with _new_batch(shape, data.workers) as clips:
    for place, clip in enumerate(clips):
      asked = int(videos[place])
      videos[place], drawn = _training_clip(
        split, data, augment, asked, int(seeds[place]), clip
      )
      layers.append(drawn)
      if videos[place] != asked:
        unreadable[place] = asked
  batch = {
    'video': clips,
    'labels': _labels(split, videos),
    'index': videos,
    'unreadable': unreadable,
  }
  if augment.randaugment_layers:
    batch['randaugment'] = np.stack(layers)
  return batch


def _training_clip(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  video: int,
  seed: int,
  clip: np.ndarray,
) -> tuple[int, np.ndarray]:
  """Fills `clip`, of the next video that can be read, if this one cannot.

  Returns:
    The video that it is of, and the draw of RandAugment.
  """
  for tried in range(1, _MOST_TRIES + 1):
    try:
      return video, _random_clip(split, data, augment, video, seed, clip)
    except UnreadableVideo:
      if tried == _MOST_TRIES:
        raise
    video = (video + 1) % len(split)
  raise AssertionError


def _random_clip(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  video: int,
  seed: int,
  clip: np.ndarray,
) -> np.ndarray:
  """Fills `clip`, uint8 [T, *crop, 3], with a random part of a video.

  Returns:
    The draw of RandAugment, float32 [layers, 4].
  """
  frames = sampling.random_clip(
    int(split.frame_counts[video]),
    data.frames,
    lengths.stride_of(split, data, video),
    draws.generator_for(seed, 'start'),
    data.short_videos,
  )
  cut, layers = None, None
  for number, image in split.decode_frames(video, frames):
    if cut is None:
      box = sampling.random_box(
        image.shape[:2],
        data.crop,
        data.short_side,
        data.scale_jitter,
        draws.generator_for(seed, 'box'),
      )
      layers = randaugment.draw(
        augment.randaugment_layers,
        augment.randaugment_magnitude,
        augment.randaugment_operations,
        draws.generator_for(seed, 'randaugment'),
      )
      cut = sampling.cutter(box, data.crop, layers)
    first, *others = np.flatnonzero(frames == number)
    cut(image, clip[first])
    clip[others] = clip[first]
  return layers


def evaluation_views(
  split: VideoSplit,
  data: DataConfig,
  temporal_views: int,
  spatial_crops: int,
  mine: slice,
  videos: np.ndarray,
) -> Batch:
  """Makes all views of some videos, as `pipeline.evaluation_batches` yields.

  Args:
    split: the videos.
    data: how clips are cut.
    temporal_views, spatial_crops: of each video.
    mine: the part of the batch to make.
    videos: numbers in the split, int [B]; `NO_VIDEO` for padding.
  """
  videos = np.array(videos)[mine]
  mask = videos != NO_VIDEO
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
    lengths.stride_of(split, data, video),
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

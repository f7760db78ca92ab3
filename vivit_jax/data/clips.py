"""Batches of clips, cropped and warped while their frames are decoded."""

from typing import Any

import numpy as np

from vivit_jax.augment import draws, randaugment
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import clip_span, frame_numbers, sampling, shared_batches
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.datasets import VideoSplit

Batch = dict[str, Any]
NO_VIDEO = -1  # index of padding
_MAX_TRIES = 20  # consecutive unreadable videos


def training_clips(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  local: slice,
  videos_and_seeds: tuple[np.ndarray, np.ndarray],
) -> Batch:
  """Returns this process's part of a batch of `pipeline.train_batches`.

  Args:
    split, data, augment: see `pipeline.train_batches`.
    local: this process's clips in the global batch.
    videos_and_seeds: indices of the global batch's videos, int [n], and seeds
      of their clips, int [n, repeats]. Clip i shows video i % n.

  Raises:
    UnreadableVideo: too many consecutive videos cannot be read.
  """
  videos, seeds = videos_and_seeds
  videos = np.tile(videos, augment.repeats)[local]
  seeds = seeds.T.ravel()[local]
  unreadable = np.full_like(videos, NO_VIDEO)
  numbers, layers = [], []
  shape = (len(videos), data.frames, *data.crop, 3)
  clips, sent = shared_batches.new(shape)
  for i, clip in enumerate(clips):
    requested, tries = videos[i], 0
    while len(numbers) == i:
      try:
        frames, operations = _random_clip(
          split, data, augment, int(videos[i]), int(seeds[i]), clip
        )
        numbers.append(frames)
        layers.append(operations)
      except UnreadableVideo:
        tries += 1
        if tries == _MAX_TRIES:
          raise
        unreadable[i] = requested
        videos[i] = (videos[i] + 1) % len(split)
  batch = {
    'video': sent,
    'frame_numbers': np.stack(numbers).astype(np.int32),
    'labels': split.labels_of_each(videos),
    'index': videos,
    'unreadable': unreadable,
  }
  if augment.randaugment_layers:
    batch['randaugment'] = np.stack(layers)
  return batch


def _random_clip(
  split: VideoSplit,
  data: DataConfig,
  augment: AugmentConfig,
  video: int,
  seed: int,
  clip: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Fills `clip`, uint8 [T, *crop, 3], with a random clip of a video.

  Returns its frame numbers, int64 [T], and RandAugment's draws, float32
  [layers, 4].
  """
  frames = frame_numbers.random_frames(
    int(split.frame_counts[video]),
    data,
    clip_span.stride_of(split, data, video),
    draws.generator_for(seed, 'start'),
  )
  cut, layers = None, None
  for number, image in split.decode_frames(video, frames):
    if cut is None:
      box = sampling.random_box(
        image.shape[:2], data, draws.generator_for(seed, 'box')
      )
      layers = randaugment.draw(
        augment, draws.generator_for(seed, 'randaugment')
      )
      cut = sampling.cutter(box, data.crop, layers)
    first, *repeated = np.flatnonzero(frames == number)
    cut(image, clip[first])
    clip[repeated] = clip[first]
  return frames, layers


def evaluation_views(
  split: VideoSplit,
  data: DataConfig,
  views: tuple[int, int, str],
  local: slice,
  videos: np.ndarray,
) -> Batch:
  """Returns this process's part of a batch of `pipeline.evaluation_batches`.

  `videos`, int [B], is the global batch, in which `NO_VIDEO` marks padding;
  `local` is this process's slice of it; `views` are (temporal_views,
  spatial_crops, views_from).
  """
  videos = np.array(videos)[local]
  mask = videos != NO_VIDEO
  unreadable = np.zeros_like(mask)
  temporal_views, spatial_crops, views_from = views
  count = temporal_views * spatial_crops
  shape = (len(videos), count, data.frames, *data.crop, 3)
  numbers = np.zeros(shape[:3], np.int32)
  clips, sent = shared_batches.new(shape)
  clips[~mask] = 0
  for i in np.flatnonzero(mask):
    by_crop = clips[i].reshape(temporal_views, spatial_crops, *shape[2:])
    try:
      frames = _uniform_clips(split, data, int(videos[i]), views_from, by_crop)
      numbers[i] = np.repeat(frames, spatial_crops, axis=0)
    except UnreadableVideo:
      unreadable[i] = True
      clips[i] = 0
  return {
    'video': sent,
    'frame_numbers': numbers,
    'labels': split.labels_of_each(np.maximum(videos, 0)),
    'index': videos,
    'mask': mask,
    'unreadable': unreadable,
  }


def _uniform_clips(
  split: VideoSplit,
  data: DataConfig,
  video: int,
  views_from: str,
  clips: np.ndarray,
) -> np.ndarray:
  """Fills `clips`, uint8 [views, crops, T, *crop, 3], with uniform clips.

  A frame that several clips share is decoded once. Returns the frame numbers,
  int64 [views, T].
  """
  frames = frame_numbers.uniform_frames(
    int(split.frame_counts[video]),
    data,
    clip_span.stride_of(split, data, video),
    len(clips),
    views_from,
  )
  for number, image in split.decode_frames(video, np.unique(frames)):
    shown = np.nonzero(frames == number)
    boxes = sampling.uniform_boxes(
      image.shape[:2], data.crop, data.short_side, clips.shape[1]
    )
    for crop, box in enumerate(boxes):
      cut = sampling.crop_and_resize(image, box, data.crop)
      clips[shown[0], crop, shown[1]] = cut
  return frames

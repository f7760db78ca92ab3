"""Batches are a function of (seed, step); evaluation sees each video once."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from vivit_jax.augment import randaugment
from vivit_jax.config import AugmentConfig, DataConfig
from vivit_jax.data import datasets, moving_shapes, pipeline, sampling, storage
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.errors import UserError

DATA = DataConfig(frames=4, stride=3, crop=(32, 32), short_side=40, workers=0)


@pytest.fixture(scope='module')
def split(prepared):
  return datasets.open_split('moving_shapes', prepared, 'train')


def train(split, count=4, data=DATA, **keys):
  arguments = {'seed': 0, 'batch_size': 6} | keys
  batches = pipeline.train_batches(split, data, **arguments)
  try:
    return list(itertools.islice(batches, count))
  finally:
    batches.close()


def assert_same(batches, others):
  jax.tree.map(np.testing.assert_array_equal, batches, others)


def test_every_epoch_has_each_video_once_in_another_order(split):
  batches = train(split, count=len(split), batch_size=2)
  order = np.concatenate([b['index'] for b in batches])
  epochs = order.reshape(2, len(split))
  for epoch in epochs:
    assert sorted(epoch) == list(range(len(split)))
  assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.slow
def test_batches_do_not_depend_on_the_workers(split):
  data = dataclasses.replace(DATA, crop_area=(0.08, 1.0))
  expected = train(split, data=data, augment=TIMM)
  for workers in (1, 2, 4):
    data = dataclasses.replace(data, workers=workers)
    assert_same(train(split, data=data, augment=TIMM), expected)


TIMM = AugmentConfig(
  repeats=3,
  randaugment_layers=4,
  randaugment_scale='timm',
  randaugment_magnitude=7.0,
  randaugment_deviation=0.5,
)


@pytest.mark.parametrize(
  'augment, area',
  [
    (AugmentConfig(), None),
    (AugmentConfig(repeats=3, randaugment_layers=2), None),
    (TIMM, (0.08, 1.0)),
  ],
)
def test_batches_depend_neither_on_processes_nor_on_resumption(
  split, augment, area
):
  keys = {'augment': augment, 'data': dataclasses.replace(DATA, crop_area=area)}
  whole = train(split, count=6, **keys)
  assert_same(train(split, first_step=4, count=2, **keys), whole[4:])
  halves = [
    train(split, count=6, process=p, processes=2, **keys) for p in (0, 1)
  ]
  joined = [
    jax.tree.map(lambda *parts: np.concatenate(parts), *pair)
    for pair in zip(*halves, strict=True)
  ]
  assert_same(joined, whole)


def test_labels_belong_to_the_videos(split):
  for batch in train(split):
    for head, values in batch['labels'].items():
      assert values.dtype == np.int32
      names = [split.label_names[head][v] for v in values]
      ids = [split.ids[i] for i in batch['index']]
      numbers = [int(i.split('_')[0].removeprefix('train')) for i in ids]
      pairs = [moving_shapes.labels_of(number) for number in numbers]
      assert names == [pair[('verb', 'noun').index(head)] for pair in pairs]


def test_a_training_clip_is_a_crop_of_consecutive_frames(split):
  """A crop at the frame's own scale equals a box of the decoded frames."""
  data = dataclasses.replace(DATA, short_side=48)
  batch = train(split, count=1, data=data)[0]
  for clip, video, numbers in zip(
    batch['video'], batch['index'], batch['frame_numbers']
  ):
    every = range(int(split.frame_counts[video]))
    frames = split.read_frames(video, every)
    matches = [
      (start, top, left)
      for start in range(len(frames) - 10 + 1)
      for top in range(48 - 32 + 1)
      for left in range(48 - 32 + 1)
      if all(
        np.array_equal(
          clip[t], frames[start + 3 * t][top : top + 32, left : left + 32]
        )
        for t in range(4)
      )
    ]
    ((start, _, _),) = matches
    assert numbers.tolist() == [start + 3 * t for t in range(4)]
  assert batch['frame_numbers'].dtype == np.int32


class Recorder:
  """A split that records the requested frames."""

  def __init__(self, split):
    self._split = split
    self.requested = []

  def __len__(self):
    return len(self._split)

  def __getattr__(self, name):
    return getattr(self._split, name)

  def decode_frames(self, video, frames):
    self.requested.append(list(frames))
    return self._split.decode_frames(video, frames)


@pytest.mark.parametrize('repeats', [2, 3])
def test_repeats_are_different_clips_of_each_video(split, repeats):
  alone = train(split, batch_size=6 // repeats)
  batches = train(split, augment=AugmentConfig(repeats=repeats))
  others = 0
  for batch, single in zip(batches, alone):
    index = batch['index'].reshape(repeats, -1)  # neighbours are other videos
    np.testing.assert_array_equal(index, [single['index']] * repeats)
    clips = batch['video'].reshape(repeats, -1, *batch['video'].shape[1:])
    others += sum(not np.array_equal(a, b) for a, b in zip(clips[0], clips[1]))
  assert others >= 0.9 * len(batches) * 6 // repeats


def test_randaugment_warps_only_clips_with_geometric_operations(split):
  plain = train(split)
  changed = train(split, augment=AugmentConfig(randaugment_layers=2))
  seen = {True: 0, False: 0}
  for batch, other in zip(plain, changed):
    assert 'randaugment' not in batch
    layers = other.pop('randaugment')
    assert layers.shape == (6, 2, 4) and layers.dtype == np.float32
    clips = zip(batch.pop('video'), other.pop('video'), layers[..., 0])
    assert_same(other, batch)
    for clip, warped, numbers in clips:
      geometric = any(
        randaugment.OPERATIONS[int(number)] in randaugment.GEOMETRY
        for number in numbers
      )
      assert np.array_equal(clip, warped) != geometric
      seen[geometric] += 1
  assert min(seen.values()) > 3


def requested(split, count=1, **changes):
  """Returns the frames that the first batches request, for each clip."""
  recorder = Recorder(split)
  train(recorder, count=count, data=dataclasses.replace(DATA, **changes))
  return recorder.requested


def test_only_the_sampled_frames_are_read(split):
  assert [len(frames) for frames in requested(split)] == [4] * 6


def test_frames_per_second_set_the_stride(split):
  """The videos have 10 frames per second."""
  assert set(split.frame_rates) == {10.0}
  by_rate = requested(split, count=2, frames_per_second=5.0)
  assert by_rate == requested(split, count=2, stride=2)
  for frames in requested(split, frames_per_second=4.0):  # stride 2.5
    assert [f - frames[0] for f in frames] == [0, 3, 5, 8]


def test_views_of_the_whole_video_and_their_limit(split):
  # 18 frames and clips that span 10: 9 starts.
  assert evaluate(split, 1, views=9)[0]['video'].shape[1] == 27
  with pytest.raises(UserError, match='temporal_views is 10.* 9'):
    evaluate(split, 1, views=10)
  data = dataclasses.replace(DATA, frames=6, sampling='whole')
  video = evaluate(split, 1, data, views=2, crops=1)[3]['video'][0]
  for view, numbers in enumerate(([0, 3, 6, 9, 12, 15], [1, 4, 7, 10, 13, 17])):
    (box,) = sampling.uniform_boxes((48, 48), (32, 32), 40, 1)
    images = split.read_frames(3, numbers)
    expected = [sampling.crop_and_resize(i, box, (32, 32)) for i in images]
    np.testing.assert_array_equal(video[view], expected)
  evaluate(split, 1, data, views=3, crops=1)
  with pytest.raises(UserError, match='temporal_views is 4.* 3'):
    evaluate(split, 1, data, views=4, crops=1)


def evaluate(split, batch_size, data=DATA, views=2, crops=3, **keys):
  views = {'temporal_views': views, 'spatial_crops': crops}
  return list(
    pipeline.evaluation_batches(
      split, data, batch_size=batch_size, **views, **keys
    )
  )


@pytest.mark.parametrize('batch_size', [5, 64])
def test_evaluation_has_each_video_once_in_full_batches(split, batch_size):
  batches = evaluate(split, batch_size)
  seen = np.concatenate([b['index'][b['mask']] for b in batches])
  assert seen.tolist() == list(range(len(split)))
  for batch in batches:
    assert batch['video'].shape == (batch_size, 6, 4, 32, 32, 3)
    assert not batch['video'][~batch['mask']].any()


def test_evaluation_of_some_videos(split):
  batches = evaluate(split, 2, views=1, crops=1, videos=[4, 1, 3])
  assert [b['index'][b['mask']].tolist() for b in batches] == [[4, 1], [3]]
  whole = np.concatenate(
    [b['video'] for b in evaluate(split, 5, views=1, crops=1)]
  )
  for batch in batches:
    for place in np.flatnonzero(batch['mask']):
      video = batch['index'][place]
      np.testing.assert_array_equal(batch['video'][place], whole[video])


def test_views_are_the_uniform_clips_and_crops(split):
  batch = evaluate(split, 1)[3]
  video = batch['video'][0]
  frames = np.array([[0, 3, 6, 9], [8, 11, 14, 17]])
  boxes = sampling.uniform_boxes((48, 48), (32, 32), 40, 3)
  for temporal, row in enumerate(frames):
    images = split.read_frames(3, row)
    for spatial, box in enumerate(boxes):
      expected = [sampling.crop_and_resize(i, box, (32, 32)) for i in images]
      np.testing.assert_array_equal(video[temporal * 3 + spatial], expected)
  found = batch['frame_numbers'][0].tolist()
  assert found == [row.tolist() for row in frames for _ in range(3)]


@pytest.mark.parametrize('views, crops', [(1, 3), (4, 3)])
def test_views_decode_each_frame_that_they_need_once(
  split, monkeypatch, views, crops
):
  """Temporal views share frames in which they overlap; crops share all."""
  decoded = []
  real = storage.decode.decode_jpeg

  def counting(data, where):
    decoded.append(data)
    return real(data, where)

  monkeypatch.setattr(storage.decode, 'decode_jpeg', counting)
  evaluate(split, 8, views=views, crops=crops)
  # A clip has every third of 10 frames, so it may begin at 0 to 8 of 18.
  starts = {1: [4], 4: [0, 3, 5, 8]}[views]
  needed = {start + step for start in starts for step in (0, 3, 6, 9)}
  assert len(needed) == {1: 4, 4: 10}[views]  # of 4 and 16
  assert len(decoded) == len(split) * len(needed)


def test_a_short_video_is_refused_or_looped(split):
  data = dataclasses.replace(DATA, frames=8)  # spans 22 of 18 frames
  with pytest.raises(UserError, match=split.ids[0]):
    train(split, data=data)
  with pytest.raises(UserError, match='data.short_videos'):
    evaluate(split, 1, data=data)
  looped = dataclasses.replace(data, short_videos='loop')
  assert train(split, data=looped)[0]['video'].shape == (6, 8, 32, 32, 3)


class Damaged(Recorder):
  """A split with some unreadable videos."""

  def __init__(self, split, broken):
    super().__init__(split)
    self.broken = broken

  def decode_frames(self, video, frames):
    if video in self.broken:
      raise UnreadableVideo(self.ids[video], 'is damaged')
    return super().decode_frames(video, frames)


def test_training_replaces_an_unreadable_video_by_the_next(split):
  untouched = train(split)
  order = [b['index'] for b in untouched]
  first, other = int(order[0][2]), int(order[1][0])
  broken = {first, (first + 1) % len(split), other}
  batches = train(Damaged(split, broken))
  for number, batch in enumerate(batches):
    for place, video in enumerate(order[number]):
      used = video
      while used in broken:
        used = (used + 1) % len(split)
      assert batch['index'][place] == used
      changed = used != video
      assert (batch['unreadable'][place] >= 0) == changed
      assert not changed or batch['unreadable'][place] in broken
      for head, label in split.labels_of(used).items():
        assert batch['labels'][head][place] == label
  for batch, whole in zip(batches, untouched):
    same = batch['unreadable'] < 0
    np.testing.assert_array_equal(batch['video'][same], whole['video'][same])
  with pytest.raises(UnreadableVideo):
    train(Damaged(split, set(range(len(split)))))


def test_draws_do_not_depend_on_where_decoding_fails(split):
  class LaterDamaged(Damaged):
    def decode_frames(self, video, frames):
      if video in self.broken:
        yield from list(self._split.decode_frames(video, frames))[:2]
        raise UnreadableVideo(self.ids[video], 'ends early')
      yield from self._split.decode_frames(video, frames)

  broken = {int(train(split)[0]['index'][1])}
  augment = AugmentConfig(randaugment_layers=2)
  assert_same(
    train(LaterDamaged(split, broken), augment=augment),
    train(Damaged(split, broken), augment=augment),
  )


def test_evaluation_marks_unreadable_videos(split):
  batches = evaluate(Damaged(split, {3, 4}), 5)
  index, mask, unreadable = (
    np.concatenate([b[key] for b in batches])
    for key in ('index', 'mask', 'unreadable')
  )
  assert index[mask].tolist() == list(range(len(split)))
  assert index[unreadable].tolist() == [3, 4]
  video = np.concatenate([b['video'] for b in batches])
  assert not video[unreadable].any() and video[mask & ~unreadable].any()


def test_an_unknown_frame_rate_is_named(split):
  unknown = Recorder(split)
  unknown.frame_rates = np.full(len(split), np.nan)
  data = dataclasses.replace(DATA, frames_per_second=5.0)
  with pytest.raises(UserError, match=split.ids[0]):
    train(unknown, data=data)


def test_balanced_classes_are_drawn_equally_often(split):
  """Two classes, one of 5 videos."""
  uneven = Recorder(split)
  uneven.labels = {'verb': np.where(np.arange(len(split)) < 5, 0, 1)}
  uneven.decode_frames = lambda video, frames: [
    (number, np.zeros((40, 40, 3), np.uint8)) for number in frames
  ]
  data = dataclasses.replace(DATA, balanced='verb')
  batches = train(uneven, count=200, data=data)
  drawn = np.concatenate([b['index'] for b in batches])
  share = np.mean(drawn < 5)
  deviation = np.sqrt(0.25 / len(drawn))
  assert abs(share - 0.5) < 4 * deviation
  assert set(drawn) == set(range(len(split)))
  again = train(uneven, count=3, data=data, first_step=7)
  for batch, expected in zip(again, batches[7:]):
    np.testing.assert_array_equal(batch['index'], expected['index'])
  with pytest.raises(UserError, match="data.balanced.*'nuon'"):
    train(uneven, data=dataclasses.replace(DATA, balanced='nuon'))

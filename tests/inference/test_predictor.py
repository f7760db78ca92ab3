"""Single videos are predicted as by evaluate.py, and as by a plain loop."""

import dataclasses

import cv2
import numpy as np
import pytest
from made import NAMES, blocks, write

import vivit_jax
from vivit_jax import models
from vivit_jax.data import datasets, decode, prepare
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate
from vivit_jax.evaluation.predictions import Table

LENGTHS, RATES = (13, 20, 31), (10, 25, 10)


@pytest.fixture
def videos(tmp_path):
  """Returns a folder of videos, and their dataset in `tmp_path`/data."""
  rows = ['path,noun,verb,split']
  for number, (frames, rate) in enumerate(zip(LENGTHS, RATES)):
    size = (48, 64) if number else (64, 48)
    path = tmp_path / 'videos' / f'{number}.mkv'
    write(path, blocks(number, frames, size), rate)
    noun, verb = NAMES['noun'][number], NAMES['verb'][number]
    rows.append(f'{number}.mkv,{noun},{verb},test')
  (tmp_path / 'labels.csv').write_text('\n'.join(rows))
  (tmp_path / 'names.json').write_text(str(NAMES).replace("'", '"'))
  prepare.prepare(
    'videos/blocks',
    videos=tmp_path / 'videos',
    annotations=tmp_path / 'labels.csv',
    data_dir=tmp_path / 'data',
    label_names=tmp_path / 'names.json',
    quality=100,
    workers=1,
  )
  return tmp_path / 'videos'


def evaluated(workdir, tmp_path, **flags):
  """Returns what evaluate.py says: video -> head -> probabilities."""
  evaluate.evaluate(
    str(workdir),
    checkpoints=['last'],
    split='test',
    data_dir=str(tmp_path / 'data'),
    batch_size=2,
    out=str(tmp_path / 'report'),
    **flags,
  )
  table = Table.read(tmp_path / 'report')
  assert dict(table.class_names) == NAMES
  found = table.probabilities()
  return {
    video: {head: found[head][place] for head in NAMES}
    for place, video in enumerate(table.ids)
  }


@pytest.mark.parametrize('views', ['1x1', '3x1', '2x3'])
@pytest.mark.parametrize('paced', [False, True])
def test_evaluate_says_the_same(
  config, trained, videos, tmp_path, views, paced
):
  data = dataclasses.replace(config.data, dataset='videos/blocks')
  if paced:  # strides of 2 and 5; and the other average
    data = dataclasses.replace(data, frames=2, frames_per_second=5.0)
    evaluation = dataclasses.replace(config.evaluation, average='probabilities')
    config = dataclasses.replace(config, evaluation=evaluation)
  workdir = trained(dataclasses.replace(config, data=data))
  expected = evaluated(workdir, tmp_path, views=views)
  split = datasets.open_split('videos/blocks', tmp_path / 'data', 'test')
  assert len(expected) == 3
  predictor = vivit_jax.load(workdir, checkpoint='last')
  for place, identity in enumerate(split.ids):
    path = videos / identity
    frames = split.read_frames(place, range(split.frame_counts[place]))
    np.testing.assert_array_equal(frames, list(decode.decode_video(path)))
    rate = split.rates[place]
    for source, options in ((path, {}), (frames, {'frames_per_second': rate})):
      found = predictor.predict(source, views=views, top=9, **options)
      for head, ranking in found.heads.items():
        there = expected[identity][head]
        np.testing.assert_allclose(ranking.every, there, atol=1e-6)
        order = np.argsort(-there)
        np.testing.assert_allclose(
          ranking.probabilities, there[order], atol=1e-6
        )
        assert list(ranking.labels) == [NAMES[head][k] for k in order]


def test_the_videos_differ(config, trained, videos):
  predictor = vivit_jax.load(trained(config))
  found = [
    predictor.predict(path).heads['verb'].every for path in videos.iterdir()
  ]
  assert np.abs(found[0] - found[1]).max() > 0.01


def test_a_plain_loop_says_the_same(config, trained):
  workdir = trained(config)
  predictor = vivit_jax.load(workdir)
  frames = blocks(7, 22, (48, 48))
  model = models.build(config.model)
  logits, pooled = [], []
  # 22 frames, clips over 10 of them: starts from 0 to 12.
  for start in (0, 6, 12):
    clip = [frames[start + 3 * place] for place in range(4)]
    # 32 of a short side of 40 are 38 of 48 pixels, from the fifth on.
    part = [image[5:43, 5:43] for image in clip]
    small = [
      cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
      for image in part
    ]
    x = (np.stack(small)[None] / 255.0 - 0.5) / 0.5
    x = x.astype(np.float32)
    logits.append(model.apply({'params': predictor.params}, x))
    pooled.append(
      model.apply({'params': predictor.params}, x, features=True).pre_logits[0]
    )
  found = predictor.predict(frames, views='3x1')
  for head in NAMES:
    mean = np.mean([np.asarray(each[head][0]) for each in logits], axis=0)
    expected = np.exp(mean) / np.exp(mean).sum()
    np.testing.assert_allclose(found.heads[head].every, expected, atol=1e-6)
    order = np.argsort(-expected)
    names = [NAMES[head][place] for place in order]
    assert list(found.heads[head].labels) == names
  np.testing.assert_allclose(
    predictor.features(frames, views='3x1'), np.mean(pooled, axis=0), atol=1e-5
  )


def test_tokens_are_of_the_middle_clip(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames = blocks(3, 23, (40, 40))
  found = predictor.features(frames, tokens=True)
  middle = frames[6:16]  # a clip of 10 of 23 frames begins at 13 // 2
  np.testing.assert_allclose(
    found, predictor.features(middle, tokens=True), atol=1e-6
  )
  other = predictor.features(frames[:10], tokens=True)
  assert np.abs(found - other).max() > 0.1
  assert found.shape == (2, 4, 4, 16)
  with pytest.raises(UserError, match="not of views '4x3'"):
    predictor.features(frames, tokens=True, views='4x3')


def test_more_views_than_one_pass_takes(config, trained):
  predictor = vivit_jax.load(trained(config))
  clips = np.stack([blocks(n, 4, (32, 32)) for n in range(37)])
  together = predictor.logits(clips)
  one = [predictor.logits(clip[None]) for clip in clips]
  for head in NAMES:
    each = np.concatenate([found[head] for found in one])
    np.testing.assert_allclose(together[head], each, atol=1e-5)


def test_half_precision_and_stacked_layers(config, trained):
  frames = blocks(1, 12, (32, 48))
  plain = vivit_jax.load(trained(config)).predict(frames).heads['verb']
  model = dataclasses.replace(config.model, scan=True)
  stacked = trained(dataclasses.replace(config, model=model), 'stacked')
  found = vivit_jax.load(stacked).predict(frames).heads['verb']
  np.testing.assert_allclose(found.every, plain.every, atol=1e-6)
  model = dataclasses.replace(config.model, dtype='bfloat16')
  half = trained(dataclasses.replace(config, model=model), 'half')
  predictor = vivit_jax.load(half)
  found = predictor.predict(frames).heads['verb']
  np.testing.assert_allclose(found.every, plain.every, atol=0.1)
  assert np.abs(found.every - plain.every).max() > 1e-6  # it was in half
  assert predictor.features(frames, tokens=True).dtype == np.float32


def test_labels_each_for_itself(config, trained):
  predictor = vivit_jax.load(trained(config, multi_label=['verb']))
  frames = blocks(1, 12, (32, 32))
  logits = predictor.logits(predictor.clips(frames, views='1x1'))
  found = predictor.predict(frames, views='1x1').heads
  each = 1 / (1 + np.exp(-logits['verb'][0].astype(float)))
  np.testing.assert_allclose(found['verb'].every, each, atol=1e-9)
  assert found['noun'].every.sum() == pytest.approx(1)


def test_what_is_no_video(config, trained, tmp_path):
  predictor = vivit_jax.load(trained(config))
  for frames, why in (
    (np.zeros((4, 8, 8, 3), np.float32), 'float32 of shape'),
    (np.zeros((8, 8, 3), np.uint8), r'uint8 of shape \[8, 8, 3\]'),
    (np.zeros((4, 8, 8, 1), np.uint8), r'\[4, 8, 8, 1\]'),
    (np.zeros((0, 8, 8, 3), np.uint8), r'\[0, 8, 8, 3\]'),
    (
      [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)],
      'one size',
    ),
    ([], 'float64 of shape'),
    (tmp_path / 'none.mp4', 'none.mp4 does not exist'),
    (tmp_path, 'cannot be opened: Is a directory'),
  ):
    with pytest.raises(UserError, match=why):
      predictor.predict(frames)


def test_short_videos(config, trained):
  workdir = trained(config)
  frames = blocks(1, 7, (48, 48))[:, :40, :40]  # a clip is over 10
  with pytest.raises(UserError, match='--short_videos=loop plays it again'):
    vivit_jax.load(workdir).predict(frames)
  found = {}
  for how in ('loop', 'hold'):
    predictor = vivit_jax.load(workdir, short_videos=how)
    clips = predictor.clips(frames, views='1x1')
    last = {'loop': frames[9 - 7], 'hold': frames[6]}[how]
    np.testing.assert_array_equal(clips[0, -1], last[4:36, 4:36])
    found[how] = predictor.predict(frames).heads['verb'].every
  assert np.abs(found['loop'] - found['hold']).max() > 1e-4
  with pytest.raises(UserError, match='room for 3 different clips'):
    vivit_jax.load(workdir).predict(blocks(1, 12, (32, 32)), views='4x1')


def test_unknown_rates(config, trained):
  data = dataclasses.replace(config.data, frames_per_second=5.0)
  predictor = vivit_jax.load(trained(dataclasses.replace(config, data=data)))
  frames = blocks(1, 30, (32, 32))
  with pytest.raises(UserError, match='the frame rate of the video is not'):
    predictor.predict(frames)
  assert predictor.preprocessing['stride'] is None
  clip = predictor.clips(frames, frames_per_second=10, views='1x1')[0]
  # Every second frame of 7, in the middle of 30.
  expected = predictor.clips(frames[11:18], frames_per_second=10, views='1x1')
  np.testing.assert_array_equal(clip, expected[0])


def test_clips_that_the_model_does_not_take(config, trained):
  predictor = vivit_jax.load(trained(config))
  clips = np.zeros((2, 4, 32, 32, 3), np.uint8)
  for wrong in (
    clips[0],
    clips[:0],
    clips[:, :3],
    clips[:, :, :16],
    clips[..., :1],
    clips.astype(np.float32),
    [clips[0], clips[0, :2]],
  ):
    for function in (predictor.predict_clips, predictor.features_of):
      with pytest.raises(UserError, match=r'uint8 \[V, 4, 32, 32, 3\]'):
        function(wrong)
  assert len(predictor.logits(list(clips))['verb']) == 2


def test_arguments_that_cannot_be(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames, clips = blocks(1, 24, (32, 32)), np.zeros((1, 4, 32, 32, 3), np.uint8)
  for top in (0, -1, 2.5, True, None):
    for call in (
      lambda n: predictor.predict(frames, top=n),
      lambda n: predictor.predict_clips(clips, top=n),
      lambda n: next(predictor.timeline(frames, top=n, frames_per_second=9)),
    ):
      with pytest.raises(UserError, match=f'top is {top}; a whole number'):
        call(top)
  with pytest.raises(UserError, match=r"views are \(4, 1\); .* e.g. '4x3'"):
    predictor.predict(frames, views=(4, 1))
  for rate in (0, -10.0, float('nan'), float('inf'), '25'):
    with pytest.raises(UserError, match='frames_per_second is .* above 0'):
      next(predictor.timeline(frames, frames_per_second=rate))

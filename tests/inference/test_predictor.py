"""Predictions equal those of evaluate.py and of a plain loop."""

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
  result = table.probabilities()
  return {
    video: {head: result[head][index] for head in NAMES}
    for index, video in enumerate(table.ids)
  }


@pytest.mark.parametrize(
  'views, paced, sampling',
  [('3x1', False, None), ('2x3', True, None), ('2x1', False, 'segments')],
)
def test_evaluation_gives_the_same_probabilities(
  config, trained, videos, tmp_path, views, paced, sampling
):
  data = dataclasses.replace(config.data, dataset='videos/blocks')
  if paced:  # strides of 2 and 5; and the other average
    data = dataclasses.replace(data, frames=2, frames_per_second=5.0)
    evaluation = dataclasses.replace(config.evaluation, average='probabilities')
    config = dataclasses.replace(config, evaluation=evaluation)
  workdir = trained(dataclasses.replace(config, data=data))
  expected = evaluated(workdir, tmp_path, views=views, sampling=sampling)
  split = datasets.open_split('videos/blocks', tmp_path / 'data', 'test')
  assert len(expected) == 3
  shares = np.stack([heads['verb'] for heads in expected.values()])
  assert np.ptp(shares, axis=0).max() > 0.01
  predictor = vivit_jax.load(workdir, checkpoint='last', sampling=sampling)
  for index, identity in enumerate(split.ids):
    path = videos / identity
    frames = split.read_frames(index, range(split.frame_counts[index]))
    np.testing.assert_array_equal(frames, list(decode.decode_video(path)))
    rate = split.frame_rates[index]
    for source, options in ((path, {}), (frames, {'frames_per_second': rate})):
      result = predictor.predict(source, views=views, top=9, **options)
      for head, ranking in result.heads.items():
        wanted = expected[identity][head]
        np.testing.assert_allclose(ranking.every, wanted, atol=1e-6)
        order = np.argsort(-wanted)
        np.testing.assert_allclose(
          ranking.probabilities, wanted[order], atol=1e-6
        )
        assert list(ranking.labels) == [NAMES[head][k] for k in order]


def test_a_plain_loop_gives_the_same_probabilities(config, trained):
  workdir = trained(config)
  predictor = vivit_jax.load(workdir)
  frames = blocks(7, 22, (48, 48))
  model = models.build(config.model)
  logits, pooled = [], []
  # 22 frames, clips over 10 of them: starts from 0 to 12.
  for start in (0, 6, 12):
    clip = [frames[start + 3 * index] for index in range(4)]
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
  result = predictor.predict(frames, views='3x1')
  for head in NAMES:
    mean = np.mean([np.asarray(each[head][0]) for each in logits], axis=0)
    expected = np.exp(mean) / np.exp(mean).sum()
    np.testing.assert_allclose(result.heads[head].every, expected, atol=1e-6)
    order = np.argsort(-expected)
    names = [NAMES[head][index] for index in order]
    assert list(result.heads[head].labels) == names
  np.testing.assert_allclose(
    predictor.features(frames, views='3x1'), np.mean(pooled, axis=0), atol=1e-5
  )


def test_tokens_are_of_the_middle_clip(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames = blocks(3, 23, (40, 40))
  result = predictor.features(frames, tokens=True)
  middle = frames[6:16]  # a clip of 10 of 23 frames begins at 13 // 2
  np.testing.assert_allclose(
    result, predictor.features(middle, tokens=True), atol=1e-6
  )
  other = predictor.features(frames[:10], tokens=True)
  assert np.abs(result - other).max() > 0.1
  assert result.shape == (2, 4, 4, 16)
  with pytest.raises(UserError, match='4x3'):
    predictor.features(frames, tokens=True, views='4x3')


def test_more_views_than_one_pass_takes(config, trained):
  predictor = vivit_jax.load(trained(config))
  clips = np.stack([blocks(n, 4, (32, 32)) for n in range(37)])
  together = predictor.logits(clips)
  one = [predictor.logits(clip[None]) for clip in clips]
  for head in NAMES:
    each = np.concatenate([result[head] for result in one])
    np.testing.assert_allclose(together[head], each, atol=1e-5)


def test_half_precision_and_stacked_layers(config, trained):
  frames = blocks(1, 12, (32, 48))
  plain = vivit_jax.load(trained(config)).predict(frames).heads['verb']
  model = dataclasses.replace(config.model, scan=True)
  stacked = trained(dataclasses.replace(config, model=model), 'stacked')
  result = vivit_jax.load(stacked).predict(frames).heads['verb']
  np.testing.assert_allclose(result.every, plain.every, atol=1e-6)
  model = dataclasses.replace(config.model, dtype='bfloat16')
  half = trained(dataclasses.replace(config, model=model), 'half')
  predictor = vivit_jax.load(half)
  result = predictor.predict(frames).heads['verb']
  np.testing.assert_allclose(result.every, plain.every, atol=0.1)
  # Half precision has an effect.
  assert np.abs(result.every - plain.every).max() > 1e-6
  assert predictor.features(frames, tokens=True).dtype == np.float32


def test_multi_label_probabilities_are_independent(config, trained):
  predictor = vivit_jax.load(trained(config, multi_label=['verb']))
  frames = blocks(1, 12, (32, 32))
  logits = predictor.logits(predictor.clips(frames, views='1x1'))
  result = predictor.predict(frames, views='1x1').heads
  each = 1 / (1 + np.exp(-logits['verb'][0].astype(float)))
  np.testing.assert_allclose(result['verb'].every, each, atol=1e-9)
  assert result['noun'].every.sum() == pytest.approx(1)


def test_invalid_videos_are_refused(config, trained, tmp_path):
  predictor = vivit_jax.load(trained(config))
  for video, words in (
    (np.zeros((4, 8, 8, 3), np.float32), 'float32'),
    (np.zeros((8, 8, 3), np.uint8), r'\[8, 8, 3\]'),
    (np.zeros((4, 8, 8, 1), np.uint8), r'\[4, 8, 8, 1\]'),
    (np.zeros((0, 8, 8, 3), np.uint8), r'\[0, 8, 8, 3\]'),
    (tmp_path / 'none.mp4', 'none.mp4'),
    (tmp_path, tmp_path.name),
  ):
    with pytest.raises(UserError, match=words):
      predictor.predict(video)


def test_short_videos(config, trained):
  workdir = trained(config)
  frames = blocks(1, 7, (48, 48))[:, :40, :40]  # a clip spans 10
  with pytest.raises(UserError, match='short_videos'):
    vivit_jax.load(workdir).predict(frames)
  results = {}
  for how in ('loop', 'hold'):
    predictor = vivit_jax.load(workdir, short_videos=how)
    clips = predictor.clips(frames, views='1x1')
    last = {'loop': frames[9 - 7], 'hold': frames[6]}[how]
    np.testing.assert_array_equal(clips[0, -1], last[4:36, 4:36])
    results[how] = predictor.predict(frames).heads['verb'].every
  assert np.abs(results['loop'] - results['hold']).max() > 1e-4


def test_unknown_rates(config, trained):
  data = dataclasses.replace(config.data, frames_per_second=5.0)
  predictor = vivit_jax.load(trained(dataclasses.replace(config, data=data)))
  frames = blocks(1, 30, (32, 32))
  with pytest.raises(UserError, match='frame rate'):
    predictor.predict(frames)
  assert predictor.preprocessing['stride'] is None
  clip = predictor.clips(frames, frames_per_second=10, views='1x1')[0]
  # Every second frame of 7, in the middle of 30.
  expected = predictor.clips(frames[11:18], frames_per_second=10, views='1x1')
  np.testing.assert_array_equal(clip, expected[0])


def test_invalid_arguments_are_refused(config, trained):
  predictor = vivit_jax.load(trained(config))
  frames = blocks(1, 24, (32, 32))
  clips = np.zeros((2, 4, 32, 32, 3), np.uint8)
  for wrong in (clips[0], clips[:0], clips[:, :3], clips.astype(np.float32)):
    with pytest.raises(UserError, match=r'uint8 \[V, 4, 32, 32, 3\]'):
      predictor.logits(wrong)
  with pytest.raises(UserError, match='differ in size'):
    predictor.predict([frames[0], frames[1, :9]])
  assert len(predictor.logits(list(clips))['verb']) == 2
  for arguments, words in (
    ({'top': 0}, 'top is 0'),
    ({'views': '4x2'}, 'views'),
    ({'views': (4, 1)}, 'views'),
    ({'frames_per_second': 0}, 'frames_per_second'),
  ):
    with pytest.raises(UserError, match=words):
      predictor.predict(frames, **arguments)
  for arguments in ({'window': 0.0}, {'window': np.inf}, {'stride': -1.0}):
    with pytest.raises(UserError, match='window'):
      next(predictor.timeline(frames, frames_per_second=10, **arguments))

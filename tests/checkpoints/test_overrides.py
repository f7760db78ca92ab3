"""Flags override keys of a config; mistakes are refused."""

import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.overrides import override
from vivit_jax.errors import UserError


@pytest.fixture
def config():
  config = configs.default()
  config.data.scale_jitter = (0.9, 1.33)
  config.data.frames_per_second = 10.0
  return configs.resolve(config)


def test_without_flags_nothing_changes(config):
  assert override(config) == config


def test_each_flag_changes_its_key_alone(config):
  found = override(
    config,
    split='test',
    views='2x1',
    crop='192x256',
    short_side=288,
    frames=16,
    average='probabilities',
    batch_size=3,
    data_dir='there',
    short_videos='hold',
    ema=False,
  )
  data, evaluation = found.data, found.evaluation
  assert evaluation == configs.EvaluationConfig(
    split='test',
    batch_size=3,
    temporal_views=2,
    spatial_crops=1,
    average='probabilities',
    ema=False,
  )
  assert (data.crop, data.short_side, data.frames) == ((192, 256), 288, 16)
  assert (data.data_dir, data.short_videos) == ('there', 'hold')
  assert data.frames_per_second == 10.0
  assert (found.model, found.optim) == (config.model, config.optim)


def test_a_crop_of_the_whole_short_side_though_training_jitters(config):
  found = override(config, crop='256')
  assert found.data.crop == (256, 256)


def test_a_stride_stands_for_frames_a_second(config):
  data = override(config, stride=3).data
  assert (data.stride, data.frames_per_second) == (3, None)


def test_a_sampling_of_the_whole_video_has_no_pace(config):
  data = override(config, sampling='segments').data
  assert (data.sampling, data.frames_per_second) == ('segments', None)
  data = override(config, sampling='clip').data
  assert (data.sampling, data.frames_per_second) == ('clip', 10.0)
  spread = override(config, sampling='whole')
  with pytest.raises(UserError, match="--stride is 3.*'whole'.*--sampling"):
    override(spread, stride=3)
  for sampling in ('clip', 'span'):
    assert override(spread, stride=3, sampling=sampling).data.stride == 3


def test_a_span_keeps_its_pace(config):
  found = override(config, sampling='span', views_from='start')
  data = found.data
  assert (data.sampling, data.frames_per_second) == ('span', 10.0)
  assert found.evaluation.views_from == 'start'


@pytest.mark.parametrize(
  ('flags', 'named'),
  [
    ({'views': '4'}, "--views .*'4'"),
    ({'views': '4x2'}, '--views'),
    ({'views': '0x1'}, '--views'),
    ({'crop': '256x'}, "--crop .*'256x'"),
    ({'crop': '320'}, '--short_side=320'),
    ({'crop': '250'}, 'data.crop .*model.options.tubelet'),
    ({'frames': 9}, 'data.frames'),
    ({'stride': 0}, 'data.stride'),
    ({'sampling': 'dense'}, 'data.sampling .*segments'),
    ({'average': 'votes'}, 'evaluation.average'),
    ({'views_from': 'end'}, 'evaluation.views_from .*start'),
    ({'batch_size': 0}, 'evaluation.batch_size'),
  ],
)
def test_mistakes_are_refused(config, flags, named):
  with pytest.raises(UserError, match=named):
    override(config, **flags)

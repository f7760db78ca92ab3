"""Config keys: types, limits and checks."""

import dataclasses

import pytest

from vivit_jax import config as configs
from vivit_jax.errors import UserError


def test_json_brings_back_every_value():
  config = configs.default()
  config.model.heads = {'verb': 8, 'noun': 6}
  config.optim.clip_norm = None
  config.data.scale_jitter = (0.9, 1.33)
  resolved = configs.resolve(config)
  assert resolved.model.heads == {'noun': 6, 'verb': 8}
  assert resolved.optim.clip_norm is None
  assert configs.from_json(configs.to_json(resolved)) == resolved


@pytest.mark.parametrize(
  'mapping, named',
  [
    ({'data': {'strid': 2}}, "'data.strid'.*'data.stride'"),
    ({'train': {'train_split': 'x'}}, "'data.train_split'"),
    ({'batch_size': 4}, "'train.batch_size'"),
    ({'optim': {'lr': 0.1}}, "'optim.learning_rate'"),
    ({'model': {'num_classes': 4}}, 'model.num_classes.*dataset'),
    ({'data': {'frames': '8'}}, 'data.frames'),  # a wrong type
  ],
)
def test_a_mistake_in_a_mapping_is_named(mapping, named):
  with pytest.raises(UserError, match=named):
    configs.from_mapping(mapping)


@pytest.mark.parametrize(
  'key, value',
  [
    ('data.frames', 31),
    ('data.frames', 0),
    ('data.crop', (224, 230)),
    ('data.short_side', 200),
    ('data.scale_jitter', (2.0, 1.0)),
    ('data.crop_area', (0.5, 0.1)),
    ('data.crop_area', (0.1, 1.5)),
    ('data.crop_aspect', (0.5, 2.0)),  # without crop_area
    ('data.short_videos', 'skip'),
    ('data.sampling', 'dense'),
    ('data.workers', 1025),
    ('data.std', (0.5, 0.5, 0.0)),
    ('model.heads', {'label': 1}),
    ('model.stochastic_depth', 1.0),
    ('model.representation', 0),
    ('augment.flip', 1.5),
    ('augment.randaugment_magnitude', 31.0),
    ('augment.randaugment_deviation', 0.5),  # of TensorFlow's scale
    ('augment.repeats', 0),
    ('augment.repeats', 3),
    ('optim.name', 'adamax'),
    ('optim.decay_factor', 0.0),
    ('optim.freeze', '(embed'),
    ('optim.b2', 1.0),
    ('optim.clip_norm', 0.0),
    ('optim.clip_norm', float('nan')),
    ('train.accumulate', 0),
    ('train.accumulate', 5),
    ('train.ema', 1.0),
    ('train.head_weights', {'a': -1.0}),
    ('train.epochs', float('inf')),
    ('train.seed', 2**32),
    ('train.best_metric', 'top-1'),
    ('evaluation.spatial_crops', 2),
    ('init_kernel', 'central'),
    ('init_grid', (0, 1, 1)),
  ],
)
def test_a_value_that_is_not_allowed_is_named(key, value):
  config = configs.default()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=key):
    configs.resolve(config)


@pytest.mark.parametrize(
  'key, value',
  [
    ('data.scale_jitter', (1.0, 1.25)),
    ('data.scale_jitter_uniform', 'inverse'),
    ('augment.randaugment_magnitude', 10.5),
    ('data.crop_aspect', (2.0, 0.5)),
  ],
)
def test_a_recipe_of_slowfast_and_what_contradicts_it(key, value):
  config = configs.default()
  config.data.crop_area, config.data.crop_aspect = (0.08, 1.0), (0.5, 2)
  config.augment.randaugment_scale = 'timm'
  config.augment.randaugment_magnitude = 7.0
  config.augment.randaugment_deviation = 0.5
  assert configs.resolve(config).data.crop_aspect == (0.5, 2.0)
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=key):
    configs.resolve(config)


def test_a_crop_may_be_wider_than_the_short_side():
  config = configs.default()
  config.data.crop = (256, 512)
  assert configs.resolve(config).data.crop == (256, 512)


def test_values_of_a_changed_dataclass_are_checked():
  config = configs.resolve(configs.default())
  for section, key, value in (
    ('data', 'stride', 0),
    ('evaluation', 'average', 'votes'),
    ('train', 'class_weights', 'rare'),
  ):
    part = dataclasses.replace(getattr(config, section), **{key: value})
    with pytest.raises(UserError, match=f'{section}.{key}'):
      configs.check(dataclasses.replace(config, **{section: part}))


def test_a_choice_that_may_be_none_takes_the_word():
  config = configs.default()
  config.train.class_weights = 'none'
  assert configs.resolve(config).train.class_weights is None
  config.train.class_weights = 'inverse'
  assert configs.resolve(config).train.class_weights == 'inverse'
  config.train.class_weights = 'rare'
  with pytest.raises(UserError, match='effective, None'):
    configs.resolve(config)
  config.train.class_weights, config.optim.schedule = None, 'none'
  with pytest.raises(UserError, match='optim.schedule'):
    configs.resolve(config)


def test_rare_classes_are_balanced_in_one_way():
  config = configs.default()
  config.train.class_weights = 'inverse'
  configs.resolve(config)
  config.data.balanced = 'verb'
  with pytest.raises(UserError, match='data.balanced.*train.class_weights'):
    configs.resolve(config)


def test_a_sampling_of_the_whole_video_has_no_frame_rate():
  config = configs.default()
  config.data.sampling, config.data.stride = 'segments', 4
  configs.resolve(config)
  config.data.frames_per_second = 5.0
  with pytest.raises(UserError, match='data.frames_per_second.*None'):
    configs.resolve(config)
  config.data.sampling = 'span'
  configs.resolve(config)


@pytest.mark.parametrize('data, model, frames, key', [
  (2, 1, 32, 'model.clips'),
  (3, 3, 32, 'data.frames'),
  (4, 4, 20, 'model.options.tubelet'),  # 5 frames of each
])  # fmt: skip
def test_clips_of_a_video_are_those_of_the_model(data, model, frames, key):
  config = configs.default()
  config.data.clips, config.model.clips = data, model
  config.data.frames = frames
  with pytest.raises(UserError, match=key):
    configs.resolve(config)
  config.model.clips, config.data.frames = data, 8 * data
  assert configs.target(configs.resolve(config)).frames == 8


@pytest.mark.parametrize(
  'schedule, epochs, words',
  [
    ('cosine', (11, 14), "decay_at.*'cosine'"),
    ('step', (14, 11), 'decay_at.*later'),
    ('step', (0,), 'decay_at'),
    ('step', ('11',), 'decay_at'),
  ],
)
def test_epochs_of_decay_are_ascending_steps(schedule, epochs, words):
  config = configs.default()
  config.optim.schedule, config.optim.decay_at = schedule, epochs
  with pytest.raises(UserError, match=words):
    configs.resolve(config)
  config.optim.schedule, config.optim.decay_at = 'step', (11, 14)
  assert configs.resolve(config).optim.decay_at == (11.0, 14.0)


def test_devices_and_micro_batches_divide_the_batch():
  config = configs.default()
  configs.check_devices(configs.resolve(config), 4)
  with pytest.raises(UserError, match='train.batch_size'):
    configs.check_devices(configs.resolve(config), 3)
  config.train.accumulate = 8
  config = configs.resolve(config)
  configs.check_devices(config, 8)
  with pytest.raises(UserError, match='128.*train.accumulate'):
    configs.check_devices(config, 16)


def test_batch_size_counts_clips_and_repeats_divide_the_videos():
  config = configs.default()
  assert configs.videos_per_step(configs.resolve(config)) == 64
  config.augment.repeats = 4
  assert configs.videos_per_step(configs.resolve(config)) == 16


def test_an_epoch_is_every_video_once_also_with_repeats():
  """As SlowFast counts: 512 clips are 256 videos, and 2 epochs 20 of these."""
  config = configs.default()
  config.train.batch_size, config.augment.repeats = 512, 2
  config.train.epochs = 2.0
  assert configs.training_steps(configs.resolve(config), 2560) == 20


def test_heads_come_from_the_dataset():
  config = configs.resolve(configs.default())
  names = {'verb': ['a', 'b'], 'noun': ['x', 'y', 'z'], 'place': ['sea']}
  one = configs.with_heads(config, {'verb': 2})
  assert configs.resolve_heads(one, names).model.heads == {'verb': 2}
  with pytest.raises(UserError, match='place .sea.'):
    configs.resolve_heads(config, names)
  del names['place']
  found = configs.resolve_heads(config, names)
  assert found.model.heads == {'noun': 3, 'verb': 2}
  wrong = configs.with_heads(config, {'verb': 5})
  with pytest.raises(UserError, match='model.heads.verb is 5'):
    configs.resolve_heads(wrong, names)
  weighted = configs.default()
  weighted.train.head_weights = {'verbs': 2.0}
  with pytest.raises(UserError, match='verbs'):
    configs.resolve_heads(configs.resolve(weighted), names)


def test_less_of_a_loss_is_better():
  assert configs.less_is_better('validation/loss')
  assert configs.less_is_better('loss') and configs.less_is_better('verb/loss')
  assert not configs.less_is_better('gloss/top1')


def test_names_of_other_projects_lead_to_keys():
  assert set(configs._ELSEWHERE.values()) <= set(configs.keys())
  assert not set(configs._ELSEWHERE) & {
    key.rpartition('.')[2] for key in configs.keys()
  }

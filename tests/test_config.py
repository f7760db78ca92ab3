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


def test_a_misspelt_key_in_a_mapping_names_the_nearest():
  with pytest.raises(UserError, match="'data.strid'.*'data.stride'"):
    configs.from_mapping({'data': {'strid': 2}})


@pytest.mark.parametrize(
  'key, value',
  [
    ('data.frames', 31),
    ('data.frames', 0),
    ('data.crop', (224, 230)),
    ('data.crop', (0, 16)),
    ('data.short_side', 200),
    ('data.short_side', -4),
    ('data.scale_jitter', (2.0, 1.0)),
    ('data.short_videos', 'skip'),
    ('data.workers', 1025),
    ('data.mean', (0.5, float('nan'), 0.5)),
    ('data.std', (0.5, 0.5, 0.0)),
    ('model.heads', {'label': 1}),
    ('model.stochastic_depth', 1.0),
    ('model.representation', 0),
    ('augment.flip', 1.5),
    ('augment.erasing', -0.1),
    ('augment.erasing_fill', 'grey'),
    ('augment.cutmix', -1.0),
    ('augment.cutmix_probability', 2.0),
    ('augment.randaugment_layers', -1),
    ('augment.randaugment_magnitude', 31.0),
    ('augment.randaugment_operations', 'color'),
    ('augment.repeats', 0),
    ('augment.repeats', 3),
    ('optim.name', 'adamax'),
    ('optim.schedule', 'cos'),
    ('optim.final_rate', 1.1),
    ('optim.power', 0.0),
    ('optim.decay_epochs', 0.0),
    ('optim.decay_factor', 0.0),
    ('optim.layer_decay', 1.5),
    ('optim.freeze', '(embed'),
    ('optim.sam_rho', -0.1),
    ('optim.b2', 1.0),
    ('optim.clip_norm', 0.0),
    ('optim.clip_norm', float('nan')),
    ('optim.epsilon', 0.0),
    ('optim.warmup_steps', -1),
    ('train.accumulate', 0),
    ('train.accumulate', 5),
    ('train.ema', 1.0),
    ('train.head_weights', {'a': -1.0}),
    ('train.class_weights', 'rare'),
    ('train.epochs', 0.0),
    ('train.epochs', float('inf')),
    ('train.epochs', 1e9),
    ('train.seed', -1),
    ('train.seed', 2**32),
    ('train.best_metric', 'top-1'),
    ('train.validation_split', ''),
    ('evaluation.spatial_crops', 2),
    ('evaluation.average', 'votes'),
    ('init_kernel', 'random'),
    ('init_grid', (0, 1, 1)),
  ],
)
def test_a_value_that_is_not_allowed_is_named(key, value):
  config = configs.default()
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


def test_rare_classes_are_balanced_in_one_way():
  config = configs.default()
  config.train.class_weights = 'inverse'
  configs.resolve(config)
  config.data.balanced = 'verb'
  with pytest.raises(UserError, match='data.balanced.*train.class_weights'):
    configs.resolve(config)


def test_a_wrong_type_is_named():
  with pytest.raises(UserError, match='data.frames'):
    configs.from_mapping({'data': {'frames': '8'}})


def test_devices_divide_the_batch():
  config = configs.resolve(configs.default())
  configs.check_devices(config, 4)
  with pytest.raises(UserError, match='train.batch_size'):
    configs.check_devices(config, 3)


def test_devices_and_micro_batches_divide_the_batch():
  config = configs.default()
  config.train.accumulate = 8
  config = configs.resolve(config)
  configs.check_devices(config, 8)
  with pytest.raises(UserError, match='128.*train.accumulate'):
    configs.check_devices(config, 16)


def test_a_weight_of_an_unknown_head_is_refused():
  config = configs.default()
  config.train.head_weights = {'verbs': 2.0}
  config = configs.resolve(config)
  assert configs.from_json(configs.to_json(config)) == config
  names = {'noun': ['x', 'y'], 'verb': ['a', 'b']}
  with pytest.raises(UserError, match='verbs'):
    configs.resolve_heads(config, names)


def test_batch_size_counts_clips_and_repeats_divide_the_videos():
  config = configs.default()
  assert configs.videos_per_step(configs.resolve(config)) == 64
  config.augment.repeats = 4
  assert configs.videos_per_step(configs.resolve(config)) == 16


def test_a_head_with_a_single_label_is_refused():
  config = configs.resolve(configs.default())
  with pytest.raises(UserError, match='noun .ball.'):
    configs.resolve_heads(config, {'noun': ['ball'], 'verb': ['a', 'b']})
  only_verb = configs.with_heads(config, {'verb': 2})
  found = configs.resolve_heads(only_verb, {'noun': ['x'], 'verb': ['a', 'b']})
  assert found.model.heads == {'verb': 2}


def test_less_of_a_loss_is_better():
  assert configs.less_is_better('validation/loss')
  assert configs.less_is_better('loss') and configs.less_is_better('verb/loss')
  assert not configs.less_is_better('gloss/top1')

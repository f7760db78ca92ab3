"""Keys, types, checks and their sentences."""

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
  'section, key, value, words',
  [
    ('data', 'frames', 31, 'data.frames is 31.*2 frames'),
    ('data', 'crop', (224, 230), 'width 230.*16 pixels'),
    ('data', 'short_side', 200, 'larger than data.short_side 200'),
    ('data', 'scale_jitter', (2.0, 1.0), 'scale_jitter'),
    ('model', 'heads', {'label': 1}, 'heads.label is 1'),
    ('model', 'stochastic_depth', 1.0, 'below 1'),
    ('augment', 'flip', 1.5, 'augment.flip is 1.5'),
    ('augment', 'erasing', -0.1, 'augment.erasing is -0.1; a probability'),
    ('augment', 'erasing_fill', 'grey', "'grey'; it takes one of noise, mean"),
    ('augment', 'cutmix', -1.0, 'augment.cutmix is -1.0; at least 0'),
    ('augment', 'cutmix_probability', 2.0, 'cutmix_probability is 2.0'),
    ('augment', 'randaugment_layers', -1, 'randaugment_layers is -1'),
    ('augment', 'randaugment_magnitude', 31.0, 'is 31.0; from 0 to 30'),
    ('augment', 'randaugment_operations', 'color', 'one of all, colour'),
    ('augment', 'repeats', 0, 'augment.repeats is 0; above 0'),
    ('augment', 'repeats', 3, 'batch_size is 64.*repeats.* runs of 3 clips'),
    ('optim', 'name', 'adamax', 'sgd, adamw, adam, lamb, lars, lion'),
    ('optim', 'schedule', 'cos', 'one of cosine, linear, polynomial, step'),
    ('optim', 'final_rate', 1.1, 'optim.final_rate is 1.1; from 0 to 1'),
    ('optim', 'power', 0.0, 'optim.power is 0.0; above 0'),
    ('optim', 'decay_epochs', 0.0, 'optim.decay_epochs is 0.0; above 0'),
    (
      'optim',
      'decay_factor',
      0.0,
      'decay_factor is 0.0; above 0 and at most 1',
    ),
    ('optim', 'layer_decay', 1.5, 'layer_decay is 1.5; above 0 and at most 1'),
    ('optim', 'freeze', '(embed', "freeze is '.embed', no regular expression"),
    ('optim', 'sam_rho', -0.1, 'optim.sam_rho is -0.1; at least 0'),
    ('train', 'accumulate', 0, 'train.accumulate is 0; above 0'),
    ('train', 'ema', 1.0, 'train.ema is 1.0; at least 0 and below 1'),
    (
      'train',
      'head_weights',
      {'a': -1.0},
      'head_weights.a is -1.0; at least 0',
    ),
    ('optim', 'clip_norm', 0.0, 'clip_norm is 0.0'),
    ('optim', 'epsilon', 0.0, 'epsilon is 0.0; above 0'),
    ('optim', 'warmup_steps', -1, 'warmup_steps is -1; at least 0'),
    ('train', 'epochs', 0.0, 'epochs is 0.0'),
    ('evaluation', 'spatial_crops', 2, 'spatial_crops is 2'),
    ('evaluation', 'average', 'votes', 'one of logits, probabilities'),
    ('train', 'epochs', float('inf'), 'epochs is inf'),
    ('train', 'epochs', 1e9, 'epochs is 1e.09; at most'),
    ('train', 'seed', -1, 'seed is -1; at least 0'),
    ('train', 'best_metric', 'top-1', "best_metric is 'top-1'"),
    ('train', 'validation_split', '', 'validation_split is empty'),
    ('optim', 'b2', 1.0, 'b2 is 1.0; at least 0 and below 1'),
    ('optim', 'clip_norm', float('nan'), 'clip_norm is nan'),
    ('data', 'mean', (0.5, float('nan'), 0.5), 'mean is nan'),
    ('data', 'short_side', -4, 'short_side is -4; above 0'),
    ('data', 'crop', (256, 512), None),
  ],
)
def test_values_that_do_not_fit_are_named(section, key, value, words):
  config = configs.default()
  config[section][key] = value
  if words is None:  # these do fit
    configs.resolve(config)
    return
  with pytest.raises(UserError, match=words):
    configs.resolve(config)


def test_rare_classes_are_made_up_for_once():
  config = configs.default()
  config.train.class_weights = 'inverse'
  configs.resolve(config)
  config.data.balanced = 'verb'
  with pytest.raises(UserError, match="is 'verb' and .* leave one out"):
    configs.resolve(config)
  config.data.balanced, config.train.class_weights = None, 'rare'
  with pytest.raises(UserError, match="'rare'; it takes one of None, inverse"):
    configs.resolve(config)


def test_a_wrong_type_is_named():
  with pytest.raises(UserError, match='data.frames is .*int'):
    configs.from_mapping({'data': {'frames': '8'}})


def test_the_batch_must_divide_over_the_devices():
  config = configs.resolve(configs.default())
  configs.check_devices(config, 4)
  with pytest.raises(UserError, match='batch_size is 64.*3 devices'):
    configs.check_devices(config, 3)


def test_each_devices_share_must_divide_in_parts():
  config = configs.default()
  config.train.accumulate = 8
  config = configs.resolve(config)
  configs.check_devices(config, 8)
  with pytest.raises(UserError, match='16 devices .* 8 even parts.* of 128'):
    configs.check_devices(config, 16)


def test_weights_are_of_heads_that_there_are():
  config = configs.default()
  config.train.head_weights = {'verbs': 2.0}
  config = configs.resolve(config)
  assert configs.from_json(configs.to_json(config)) == config
  there = {'noun': ['x', 'y'], 'verb': ['a', 'b']}
  with pytest.raises(UserError, match="names verbs, .* noun, verb.*'verb'"):
    configs.resolve_heads(config, there)


def test_batch_size_counts_clips_and_repeats_divide_the_videos():
  config = configs.default()
  assert configs.videos_per_step(configs.resolve(config)) == 64
  config.augment.repeats = 4
  assert configs.videos_per_step(configs.resolve(config)) == 16


def test_one_label_is_nothing_to_train_on():
  config = configs.resolve(configs.default())
  with pytest.raises(UserError, match='a single label for noun .ball.'):
    configs.resolve_heads(config, {'noun': ['ball'], 'verb': ['a', 'b']})
  only_verb = configs.with_heads(config, {'verb': 2})
  found = configs.resolve_heads(only_verb, {'noun': ['x'], 'verb': ['a', 'b']})
  assert found.model.heads == {'verb': 2}


def test_less_of_a_loss_is_better():
  assert configs.less_is_better('validation/loss')
  assert configs.less_is_better('loss') and configs.less_is_better('verb/loss')
  assert not configs.less_is_better('gloss/top1')

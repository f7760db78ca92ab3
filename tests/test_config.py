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
  with pytest.raises(UserError, match="'data.strid'.*'stride'"):
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
    ('optim', 'name', 'adam', 'sgd, adamw'),
    ('optim', 'clip_norm', 0.0, 'clip_norm is 0.0'),
    ('train', 'epochs', 0.0, 'epochs is 0.0'),
    ('evaluation', 'spatial_crops', 2, 'spatial_crops is 2'),
  ],
)
def test_values_that_do_not_fit_are_named(section, key, value, words):
  config = configs.default()
  config[section][key] = value
  with pytest.raises(UserError, match=words):
    configs.resolve(config)


def test_a_wrong_type_is_named():
  with pytest.raises(UserError, match='data.frames is .*int'):
    configs.from_mapping({'data': {'frames': '8'}})


def test_the_batch_must_divide_over_the_devices():
  config = configs.resolve(configs.default())
  configs.check_devices(config, 4)
  with pytest.raises(UserError, match='batch_size is 64.*3 devices'):
    configs.check_devices(config, 3)

"""What a probe refuses, and its grid."""

import pytest

from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.probing import grid


def config_of(**changes):
  config = configs.default('joint')
  config.init_from = 'somewhere'
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in changes.items()}
  )
  return configs.resolve(config)


def test_the_grid_has_every_combination_once():
  config = config_of(
    probe__pools=('mean', 'attention', 'attention/big_vision'),
    probe__learning_rates=(0.1, 0.01),
    probe__weight_decays=(0.5, 0.5),
    model__attention_pool__blocks=0,
  )
  names = [head.name for head in grid.heads(config)]
  assert names == [
    'mean,0.1,0.5',
    'mean,0.01,0.5',
    'attention-big_vision,0.1,0.5',
    'attention-big_vision,0.01,0.5',
  ]


def test_an_empty_grid_is_the_configs_own_head():
  config = config_of(optim__learning_rate=0.3, optim__weight_decay=0.2)
  [head] = grid.heads(config)
  assert (head.pool, head.rate, head.decay) == ('token', 0.3, 0.2)
  assert grid.heads(head.config(config)) == [head]


STORED = {'probe__tokens': 'stored', 'augment__mixup': 0.0}


@pytest.mark.parametrize(
  ('key', 'changes'),
  [
    ('init_from', {'init_from': None}),
    ('train.validate_every', {'train__validate_every': 0}),
    ('probe.average', {'probe__average': 'frame'}),
    ('augment.mixup', STORED | {'augment__mixup': 0.1}),
    ('augment.cutmix', STORED | {'augment__cutmix': 0.1}),
    ("'median'", {'probe__pools': ('mean', 'median')}),
    ('attention/vjepa', {'probe__pools': ('attention/jepa',)}),
    ("'token'", {'probe__pools': ('token', 'mean')}),
  ],
)
def test_what_it_cannot_do_is_refused(tmp_path, key, changes):
  grid.check(config_of(), tmp_path)
  with pytest.raises(UserError, match=key):
    grid.check(config_of(**changes), tmp_path)


@pytest.mark.parametrize(
  ('refused', 'optim'),
  [
    (None, {}),
    (None, {'optim__train': '^(output_projection|attention_pool)/'}),
    (None, {'optim__freeze': '^(Transformer|embedding|cls)'}),
    ('Transformer', {'optim__train': '^(output|Transformer)'}),
    ('Transformer', {'optim__train': None, 'optim__freeze': '^embedding'}),
    ('bias', {'optim__freeze': 'bias'}),
  ],
)
def test_the_heads_alone_are_trained(refused, optim):
  config = configs.with_heads(config_of(**optim), {'label': 3})
  if refused is None:
    grid.check_trained(config)
    return
  with pytest.raises(UserError, match=refused):
    grid.check_trained(config)


def test_the_workdir_of_another_run_is_refused(tmp_path):
  (tmp_path / 'config.json').touch()
  with pytest.raises(UserError, match=str(tmp_path)):
    grid.check(config_of(), tmp_path)
  (tmp_path / grid.GRID).mkdir()
  grid.check(config_of(), tmp_path)

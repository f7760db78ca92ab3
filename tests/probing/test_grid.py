"""What a probe refuses, and its grid."""

import jax
import numpy as np
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


def test_each_pool_has_its_own_forms_keys():
  config = config_of(
    probe__pools=('attention/videoglue', 'attention'),
    model__attention_pool__form='vjepa',
    model__attention_pool__blocks=2,
  )
  heads = grid.Grid(configs.with_heads(grid.with_pools(config), {'label': 3}))
  blocks = {k: x.model.attention_pool.blocks for k, x in heads.configs.items()}
  assert blocks == {'attention/videoglue': 0, 'attention/vjepa': 2}
  # A run of all heads stores the config of the first; it has the same pools.
  assert [head.pool for head in grid.heads(heads.config)] == list(blocks)


STORED = {'probe__tokens': 'stored', 'augment__mixup': 0.0}
AVERAGE = STORED | {'probe__average': 'clip'}


@pytest.mark.parametrize(
  ('key', 'changes'),
  [
    ('init_from', {'init_from': None}),
    ('train.validate_every', {'train__validate_every': 0}),
    ('probe.pools', AVERAGE | {'probe__pools': ('attention', 'mean')}),
    ('probe.average', AVERAGE | {'probe__pools': ('token',)}),
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
  grid.check(config_of(probe__pools=('mean',), **AVERAGE), tmp_path)
  both = config_of(probe__pools=('attention', 'mean'), probe__average='frame')
  grid.check(both, tmp_path)


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
  (tmp_path / 'grid').mkdir()
  grid.check(config_of(), tmp_path)


@pytest.mark.parametrize(
  ('pool', 'average', 'count'),
  [
    ('token', None, 1),
    ('mean', None, 8),
    ('mean', 'clip', 1),
    ('mean', 'frame', 2),
    ('attention/videoglue', None, 8),
    ('attention/videoglue', 'frame', 2),
  ],
)
def test_the_head_on_its_tokens_is_the_whole_model(pool, average, count):
  config = config_of(
    model__options__tubelet=(2, 8, 8),
    model__options__width=16,
    model__options__attention_heads=2,
    model__options__mlp_width=32,
    model__options__layers=1,
    data__frames=4,
    data__crop=(16, 16),
    probe__pools=(pool,),
    probe__average=average,
  )
  heads = grid.Grid(configs.with_heads(config, {'noun': 3, 'verb': 2}))
  draw = np.random.default_rng(0)
  video = draw.normal(size=(2, 4, 16, 16, 3)).astype(np.float32)
  params = jax.jit(heads.encoder.init)(jax.random.key(0), video)['params']
  for name, x in params['output_projection'].items():
    params['output_projection'][name] = draw.normal(size=x.shape)
  expected = heads.encoder.apply({'params': params}, video)
  tokens = heads.encode(params, video, None)
  found = heads.models[pool].apply({'params': params}, tokens)
  for head, logits in expected.items():
    np.testing.assert_allclose(found[head], logits, rtol=1e-5, atol=1e-5)
  assert tokens.shape == (2, count, 16)
